"""The estate: import and export of whole sites, and the parameters that each site sets."""
