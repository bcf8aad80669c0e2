"""meterplex plugin: Acrel DTSY1352 and DDSY1352 prepaid meters."""
