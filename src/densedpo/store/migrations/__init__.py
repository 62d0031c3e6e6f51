"""How the tables came to be, one file for each change. Run by `densedpo.store.database.migrate`."""
