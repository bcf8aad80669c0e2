"""meterplex plugin: prepaid water. For now the sewage charge of water tariffs."""
