"""Alembic's entry: run the migrations on the connection, and in the transaction, that `migrate` opened."""

from alembic import context

from densedpo.store import tables

context.configure(connection=context.config.attributes["connection"], target_metadata=tables.metadata)
context.run_migrations()
