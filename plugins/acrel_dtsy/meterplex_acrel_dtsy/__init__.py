"""meterplex plugin: Acrel DTSY1352 and DDSY1352 prepaid meters, ADL and ADW relatives.

Sources are cited by the tags of the README: MAN, DBG, EMS, EVCC, AGG, IO; "guess" is ours.
"""
