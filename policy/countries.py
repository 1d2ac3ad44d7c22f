"""Country codes: ISO 3166-1:2020 alpha-3, as the ISO 3166 Maintenance Agency lists them.

1. A real report names real countries: the 249 officially assigned codes.
2. In exercises and tests the code elements that ISO 3166-1 sets aside for its users (user-assigned: AAA to AAZ,
   QMA to QZZ, XAA to XZZ, ZZA to ZZZ) may stand for nodes and countries that do not exist. In live traffic they
   never do.
"""

from __future__ import annotations

from string import ascii_uppercase
from typing import Final

_ASSIGNED: Final = """
    ABW AFG AGO AIA ALA ALB AND ARE ARG ARM ASM ATA ATF ATG AUS AUT AZE BDI BEL BEN BES BFA BGD BGR BHR
    BHS BIH BLM BLR BLZ BMU BOL BRA BRB BRN BTN BVT BWA CAF CAN CCK CHE CHL CHN CIV CMR COD COG COK COL
    COM CPV CRI CUB CUW CXR CYM CYP CZE DEU DJI DMA DNK DOM DZA ECU EGY ERI ESH ESP EST ETH FIN FJI FLK
    FRA FRO FSM GAB GBR GEO GGY GHA GIB GIN GLP GMB GNB GNQ GRC GRD GRL GTM GUF GUM GUY HKG HMD HND HRV
    HTI HUN IDN IMN IND IOT IRL IRN IRQ ISL ISR ITA JAM JEY JOR JPN KAZ KEN KGZ KHM KIR KNA KOR KWT LAO
    LBN LBR LBY LCA LIE LKA LSO LTU LUX LVA MAC MAF MAR MCO MDA MDG MDV MEX MHL MKD MLI MLT MMR MNE MNG
    MNP MOZ MRT MSR MTQ MUS MWI MYS MYT NAM NCL NER NFK NGA NIC NIU NLD NOR NPL NRU NZL OMN PAK PAN PCN
    PER PHL PLW PNG POL PRI PRK PRT PRY PSE PYF QAT REU ROU RUS RWA SAU SDN SEN SGP SGS SHN SJM SLB SLE
    SLV SMR SOM SPM SRB SSD STP SUR SVK SVN SWE SWZ SXM SYC SYR TCA TCD TGO THA TJK TKL TKM TLS TON TTO
    TUN TUR TUV TWN TZA UGA UKR UMI URY USA UZB VAT VCT VEN VGB VIR VNM VUT WLF WSM YEM ZAF ZMB ZWE
"""

ASSIGNED: Final = frozenset(_ASSIGNED.split())
"""The officially assigned codes."""

USER_ASSIGNED: Final = frozenset(
    ["AA" + third for third in ascii_uppercase]
    + ["Q" + second + third for second in ascii_uppercase[ascii_uppercase.index("M") :] for third in ascii_uppercase]
    + ["X" + second + third for second in ascii_uppercase for third in ascii_uppercase]
    + ["ZZ" + third for third in ascii_uppercase]
)
"""The codes that users may give a meaning among themselves."""

NODE_CODES: Final = ASSIGNED | USER_ASSIGNED
"""Every code that may name a node somewhere: in live traffic only `ASSIGNED` ones do."""

UNKNOWN: Final = "UNKNOWN"
"""Stands for the country of a launch, and nowhere else, where the originator does not know it."""
