"""How far labellers agree with each other, with a consensus, with people: numbers and a page. Loads no torch."""

from densedpo.agreement.page import AgreementReport, write_agreement
from densedpo.agreement.settings import AgreementSettings

__all__ = ["AgreementReport", "AgreementSettings", "write_agreement"]
