"""How Pathfront reaches its database: tables, upgrades, URLs, errors."""
