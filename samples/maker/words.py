"""Invented names, addresses and goods: grammars over word lists, so that no two documents need be alike."""

from __future__ import annotations

import random
from dataclasses import dataclass
from decimal import Decimal

from maker.locales import Locale, pattern

_STARTS = "Bra Cor Dal Fen Gal Hol Jar Kel Lor Mar Nor Pel Quin Ros Sel Tor Ul Ver Wil Yar Zan Bel Cal Dor Ev Fal Gris Hav Il Kor".split()
_MIDDLES = "a i o e an or en il am ar u is".split()
_ENDS = {
    "en": "ton wick dale mere vex lin dra ney bury sco field worth low by stead ham".split(),
    "de": "mann stett berg horn feld bach rath lau ner hoff wig sen".split(),
    "fr": "vier mont lac nelle ville gny rand quet baud sson".split(),
    "es": "ndez lla rro sal dera mosa guera stro billo".split(),
    "it": "netti llo ssi ghini ratti vello zzo rona celli".split(),
    "nl": "stra man dijk veen huis loo sma kamp horst".split(),
    "pt": "lho eira ndes ral moso dinho veira lim".split(),
}

_FIRST = {
    "en": "Alice Ben Chloe Daniel Esther Farah Grace Harun Imran Joan Kavita Liam Mei Nadia Oliver Priya Quentin Rachel Samuel Tara".split(),
    "de": "Anke Bernd Claudia Dieter Elke Florian Greta Holger Ines Jonas Katrin Lukas Maren Nils Petra Ralf Silke Tobias Ute".split(),
    "fr": "Aurélie Bastien Camille Damien Élodie Fabrice Hélène Julien Léa Mathieu Noémie Olivier Pauline Rémi Sylvie".split(),
    "es": "Ana Carlos Elena Fernando Inés Jorge Lucía Manuel Núria Óscar Pilar Rafael Sofía Tomás".split(),
    "it": "Alessia Bruno Chiara Davide Elisa Franco Giulia Luca Marta Nicola Paola Renzo Silvia Teo".split(),
    "nl": "Anouk Bas Carla Dirk Eva Femke Joost Lotte Maarten Noor Pieter Sanne Teun".split(),
    "pt": "Antônio Beatriz Caio Débora Eduardo Fernanda Igor Júlia Leandro Mariana Otávio Renata".split(),
    "ko": "민준 서연 도윤 하은 지호 수아 예준 지우 현우 유진".split(),
}
_KOREAN_SURNAMES = "김 이 박 최 정 강 조 윤 장 임".split()

_STREETS = {
    "en_MY": ("Jalan {name}", "Jalan {name} {n}/{m}", "Lorong {name} {m}", "Persiaran {name}", "No. {m}, Jalan {name}", "Lot {n}, Jalan {name} {m}"),
    "en_SG": ("{n} {name} Road #0{m}-{n}", "Blk {n} {name} Avenue {m} #0{m}-{n}", "{n} {name} Lane"),
    "en_GB": ("{n} {name} Road", "{n} High Street", "Unit {m}, {name} Park", "{n} {name} Lane", "{n}a {name} Terrace"),
    "en_AU": ("{n} {name} Street", "Shop {m}, {n} {name} Parade", "{n} {name} Road"),
    "en_IN": ("{n}, {name} Nagar", "Shop No. {m}, {name} Complex", "Plot {n}, {name} Marg"),
    "en_US": ("{n}{m} {name} Street", "{n}{m} N {name} Ave", "{n} {name} Blvd, Suite {m}0", "{n}0{m} {name} Road"),
    "de": ("{name}straße {n}", "{name}weg {m}", "Am {name} {m}", "{name}gasse {n}", "{name}platz {m}"),
    "fr": ("{n} rue {name}", "{n}, avenue {name}", "{m} bis rue de {name}", "{m} place {name}"),
    "es": ("Calle {name} {n}", "Avda. {name}, {n}", "Plaza {name} {m}", "C/ {name}, {n}"),
    "it": ("Via {name} {n}", "Corso {name}, {n}", "Piazza {name} {m}", "Viale {name} {n}"),
    "nl": ("{name}straat {n}", "{name}laan {m}", "{name}weg {n}", "{name}plein {m}"),
    "pt": ("Rua {name}, {n}", "Av. {name}, {n}{m}", "Praça {name}, {m}"),
}
_PLACES = {
    "en_MY": (
        "81100 Johor Bahru, Johor",
        "50450 Kuala Lumpur",
        "47400 Petaling Jaya, Selangor",
        "11900 Bayan Lepas, Penang",
        "75450 Melaka",
        "43300 Seri Kembangan, Selangor",
        "30250 Ipoh, Perak",
        "93350 Kuching, Sarawak",
    ),
    "en_SG": ("Singapore 5{p}", "Singapore 3{p}", "Singapore 0{p}"),
    "en_GB": ("Leeds LS{m} {m}QT", "Norwich NR{m} {m}AB", "Cardiff CF{m} {m}NL", "Bath BA{m} {m}HW", "York YO{m} {m}DX"),
    "en_AU": ("Geelong VIC 3220", "Newcastle NSW 2300", "Toowoomba QLD 4350", "Fremantle WA 6160"),
    "en_IN": ("Pune 411 0{n}", "Bengaluru 560 0{n}", "Kochi 682 0{n}", "Jaipur 302 0{n}"),
    "en_US": ("Dayton, OH 45402", "Boise, ID 83702", "Tulsa, OK 74103", "Eugene, OR 97401", "Macon, GA 31201", "Duluth, MN 55802"),
    "de_DE": ("20457 Hamburg", "04109 Leipzig", "76131 Karlsruhe", "44135 Dortmund", "93047 Regensburg", "24103 Kiel"),
    "de_AT": ("1070 Wien", "8010 Graz", "4020 Linz", "6020 Innsbruck"),
    "de_CH": ("8004 Zürich", "3011 Bern", "4051 Basel", "9000 St. Gallen", "6003 Luzern"),
    "fr_FR": ("35000 Rennes", "69003 Lyon", "31000 Toulouse", "44000 Nantes", "21000 Dijon"),
    "es_ES": ("46003 Valencia", "41004 Sevilla", "50001 Zaragoza", "28012 Madrid", "15001 A Coruña"),
    "it_IT": ("40121 Bologna BO", "10128 Torino TO", "50123 Firenze FI", "34121 Trieste TS", "70122 Bari BA"),
    "nl_NL": ("3511 AB Utrecht", "9712 GH Groningen", "5611 EM Eindhoven", "6211 LN Maastricht", "2312 KS Leiden"),
    "pt_BR": ("Curitiba - PR, 80010-0{n}", "Recife - PE, 50030-1{n}", "Belo Horizonte - MG, 30110-0{n}"),
}
_LEGAL = {
    "en_MY": ("Sdn Bhd", "SDN. BHD.", "Enterprise", "Trading", "(M) Sdn Bhd"),
    "en_SG": ("Pte Ltd", "PTE. LTD.", "LLP"),
    "en_GB": ("Ltd", "Limited", "& Sons", "LLP", ""),
    "en_AU": ("Pty Ltd", "& Co", ""),
    "en_IN": ("Pvt Ltd", "Traders", "& Sons", "Private Limited"),
    "en_US": ("Inc.", "LLC", "Co.", "", "Corp."),
    "de_DE": ("GmbH", "e.K.", "GmbH & Co. KG", "OHG", "AG"),
    "de_AT": ("GmbH", "KG", "e.U."),
    "de_CH": ("AG", "GmbH", "& Co."),
    "fr_FR": ("SARL", "SAS", "& Fils", "EURL"),
    "es_ES": ("S.L.", "S.A.", "e Hijos", ""),
    "it_IT": ("S.r.l.", "S.n.c.", "& Figli", "S.p.A."),
    "nl_NL": ("B.V.", "VOF", "& Zn."),
    "pt_BR": ("Ltda.", "ME", "S.A.", "EIRELI"),
}
_PHONES = {
    "en_MY": ("07-999 9999", "03-9999 9999", "+60 3-9999 9999"),
    "en_SG": ("6999 9999", "+65 6999 9999"),
    "en_GB": ("01999 999999", "020 7999 9999"),
    "en_AU": ("(03) 9999 9999",),
    "en_IN": ("+91 99999 99999", "020-99999999"),
    "en_US": ("(999) 555-0199", "999-555-0199"),
    "ko_KR": ("02-999-9999", "031-999-9999"),
}


@dataclass(frozen=True)
class Trade:
    """A line of business: what its firms call themselves and what they sell, with prices in euros or dollars."""

    names: tuple[str, ...]
    goods: tuple[str, ...]
    lowest: float
    highest: float
    variants: tuple[str, ...] = ()


def _trade(names: str, goods: str, lowest: float, highest: float, variants: str = "") -> Trade:
    return Trade(tuple(names.split("|")), tuple(goods.split("|")), lowest, highest, tuple(variants.split("|")) if variants else ())


SHOPS: dict[str, tuple[Trade, ...]] = {
    "en": (
        _trade(
            "Mini Market|Grocers|Fresh Mart|Foodstore|Provisions",
            "Wholemeal bread|Free range eggs x10|Basmati rice 5kg|Green apples|Semi skimmed milk 1L|Tomato paste|Oat biscuits|Olive oil 500ml"
            "|Chicken thighs|Baked beans|Dish soap lemon|Kitchen roll 4pk|Chilli sauce|Peanut butter|Brown sugar 1kg|Yoghurt mango|Tinned tuna|Instant noodles",
            0.8,
            14,
            "Value|Organic|Large|Family size|Jumbo",
        ),
        _trade(
            "Hardware|Tools & Fixings|DIY Centre|Hardware & Paint|Ironmongers",
            "Wood screw 4x40|PVC pipe 20mm|Masking tape|Emulsion white 5L|Paint roller 9in|Claw hammer|Door hinge brass|Cable tie black"
            "|LED bulb 9W|Extension lead 3m|Wall plug 8mm|Sandpaper P120|Silicone sealant|Spirit level|Garden hose 15m|Padlock 40mm",
            1.2,
            48,
            "Heavy duty|Pro|Std",
        ),
        _trade(
            "Cafe|Coffee House|Bakery Cafe|Tea Room|Espresso Bar",
            "Flat white|Iced latte|Earl grey pot|Almond croissant|Carrot cake slice|Ham & cheese toastie|Egg mayo sandwich|Hot chocolate"
            "|Cold brew|Banana muffin|Scone with jam|Soup of the day|Lemonade|Mocha",
            2,
            11,
            "Regular|Small|Large|Oat",
        ),
        _trade(
            "Restaurant|Kitchen|Bistro|Grill|Noodle House|Diner",
            "Fried rice special|Grilled sea bass|Mixed satay|Lamb shank|Garden salad|Beef noodle soup|Prawn curry|Steamed rice"
            "|Garlic naan|Mushroom risotto|Iced lemon tea|Sparkling water|Mango pudding|Chicken chop|House fries",
            2.5,
            26,
        ),
        _trade(
            "Stationery|Books & Gifts|Paper Supply|Office Mart",
            "A4 paper 80gsm|Ball pen blue|Ring binder|Sticky notes|Stapler no.10|Exercise book|Whiteboard marker|Envelope C5"
            "|Glue stick|Desk calendar|Ruler 30cm|Highlighter set|Gift wrap roll|Birthday card",
            0.7,
            19,
            "Pack|Single",
        ),
        _trade(
            "Pharmacy|Health Store|Chemist",
            "Vitamin C 500mg|Cough syrup 120ml|Plasters assorted|Hand cream|Toothpaste mint|Eye drops|Cotton wool|Sun lotion SPF50"
            "|Throat lozenges|Thermometer digital|Face mask 50s|Shampoo mild",
            1.9,
            29,
        ),
        _trade(
            "Fashion|Clothing|Outfitters|Shoes & Bags",
            "T-shirt navy M|Canvas belt|Ankle socks 3pr|Denim jeans 32|Rain jacket|Wool scarf|Leather wallet|Sandals size 40|Cotton shirt L|Tote bag",
            5,
            79,
        ),
    ),
    "de": (
        _trade(
            "Markt|Lebensmittel|Frischemarkt|Hofladen",
            "Vollkornbrot|Bio Eier 10er|Apfelsaft 1L|Butter 250g|Gouda jung|Kartoffeln 2kg|Haferflocken|Mineralwasser|Tomaten lose"
            "|Spülmittel|Küchenrolle|Joghurt Erdbeere|Nudeln Penne|Rapsöl|Schokolade Nuss",
            0.8,
            9,
        ),
        _trade(
            "Baumarkt|Werkzeuge|Eisenwaren|Farben",
            "Schraube 4x40|Dübel 8mm|Wandfarbe weiß 5L|Pinsel flach|Zollstock|Hammer 300g|Kabelbinder|LED Lampe 9W|Silikon transparent|Schleifpapier",
            1.1,
            45,
        ),
        _trade(
            "Bäckerei|Café|Konditorei",
            "Cappuccino|Milchkaffee|Brezel|Apfelstrudel|Käsekuchen|Laugenstange|Croissant|Tee Kännchen|Mohnbrötchen|Belegtes Brötchen",
            0.9,
            7,
        ),
        _trade(
            "Gasthaus|Restaurant|Wirtshaus",
            "Wiener Schnitzel|Kartoffelsalat|Tagessuppe|Apfelschorle|Rinderroulade|Kaiserschmarrn|Gemüselasagne|Weißbier 0,5|Espresso|Beilagensalat",
            2.8,
            24,
        ),
    ),
    "fr": (
        _trade(
            "Épicerie|Marché|Primeurs",
            "Pain de campagne|Beurre doux|Pommes Gala|Lait demi-écrémé|Camembert|Jus d'orange|Riz basmati|Yaourt nature|Confiture fraise|Café moulu",
            0.9,
            9,
        ),
        _trade("Boulangerie|Pâtisserie", "Baguette tradition|Croissant|Pain au chocolat|Éclair café|Tarte citron|Quiche lorraine|Brioche|Chausson pommes", 1, 6),
        _trade(
            "Quincaillerie|Bricolage", "Vis inox 4x40|Cheville 8mm|Peinture blanche|Rouleau peintre|Marteau|Ampoule LED|Ruban adhésif|Niveau à bulle", 1.4, 39
        ),
        _trade("Restaurant|Brasserie", "Plat du jour|Salade niçoise|Soupe à l'oignon|Steak frites|Crème brûlée|Café gourmand|Verre de vin|Eau gazeuse", 2.5, 25),
    ),
    "es": (
        _trade(
            "Supermercado|Alimentación|Frutería",
            "Pan integral|Leche entera|Aceite de oliva|Tomate pera|Queso curado|Huevos 12u|Arroz bomba|Galletas avena|Agua mineral|Café molido",
            0.8,
            9,
        ),
        _trade("Ferretería|Bricolaje", "Tornillo 4x40|Taco 8mm|Pintura blanca|Brocha plana|Martillo|Bombilla LED|Cinta aislante|Manguera 15m", 1.1, 40),
        _trade("Cafetería|Bar|Restaurante", "Café con leche|Tostada tomate|Tortilla pincho|Menú del día|Croquetas|Ensalada mixta|Caña|Flan casero|Agua con gas", 1.2, 19),
    ),
    "it": (
        _trade("Alimentari|Market|Gastronomia", "Pane casereccio|Latte fresco|Mozzarella|Prosciutto crudo|Pasta fusilli|Olio extravergine|Pomodori|Biscotti|Caffè macinato", 0.9, 10),
        _trade("Ferramenta|Fai da te", "Vite 4x40|Tassello 8mm|Pittura bianca|Pennello piatto|Martello|Lampada LED|Nastro isolante|Livella", 1.2, 39),
        _trade("Bar|Trattoria|Pizzeria", "Espresso|Cappuccino|Cornetto|Pizza margherita|Lasagne al forno|Insalata mista|Tiramisù|Acqua frizzante|Coperto", 1.2, 17),
    ),
    "nl": (
        _trade("Supermarkt|Versmarkt|Kruidenier", "Volkoren brood|Halfvolle melk|Jonge kaas|Appels Elstar|Hagelslag|Eieren 10st|Pindakaas|Koffie snelfilter|Yoghurt naturel", 0.9, 9),
        _trade("IJzerwaren|Bouwmarkt", "Schroef 4x40|Plug 8mm|Muurverf wit|Kwast plat|Hamer|Ledlamp|Duct tape|Waterpas", 1.3, 39),
        _trade("Café|Eetcafé|Bakkerij", "Koffie verkeerd|Appelgebak|Tosti kaas|Uitsmijter|Verse jus|Soep van de dag|Bitterballen|Muntthee", 2, 15),
    ),
    "pt": (
        _trade("Mercado|Hortifruti|Empório", "Pão francês|Leite integral|Queijo minas|Feijão preto|Arroz branco|Café torrado|Banana prata|Suco de uva|Farinha de mandioca", 2, 39),
        _trade("Ferragens|Material de Construção", "Parafuso 4x40|Bucha 8mm|Tinta branca|Pincel chato|Martelo|Lâmpada LED|Fita isolante|Mangueira 15m", 3, 120),
        _trade("Padaria|Lanchonete|Restaurante", "Pão de queijo|Café coado|Prato feito|Suco natural|Coxinha|Misto quente|Pudim|Água com gás", 3, 49),
    ),
    "ko": (_trade("상사|마트|식당|문구|카페", "아메리카노|비빔밥|김치찌개|복사용지|볼펜 세트|생수 2L|사과 한 봉|우유 1L|샌드위치|서류 봉투|건전지 AA", 1000, 28000),),
}

SERVICES: dict[str, tuple[Trade, ...]] = {
    "en": (
        _trade(
            "Consulting|Design Studio|Software|Digital|Media",
            "Website maintenance|Concept workshop|Logo design revision|Hosting per month|Support hours|Photo retouching|Copywriting brochure|Domain renewal"
            "|Data migration|Project management|Usability review|Training day on site",
            35,
            900,
        ),
        _trade(
            "Engineering|Electrical|Plumbing|Facilities|Builders",
            "Boiler inspection|Replacement valve|Call-out charge|Copper pipe 22mm|Labour|Cable tray 2m|Safety switch|Site clearance|Wall painting|Waste disposal",
            20,
            640,
        ),
        _trade(
            "Supplies|Wholesale|Industrial|Packaging|Trading",
            "Carton box 40x30|Stretch film roll|Pallet label 500s|Nitrile gloves|Hand truck|Ball bearing 6204|Hydraulic oil 20L|Safety helmet|Packing tape|Storage bin",
            4,
            210,
        ),
    ),
    "de": (
        _trade("Beratung|Werbeagentur|Softwarehaus|Medien", "Wartung Webseite|Konzeptworkshop|Hosting monatlich|Supportstunden|Textkorrektur|Datenmigration|Schulungstag|Projektleitung", 40, 900),
        _trade("Elektrotechnik|Sanitär|Bau|Malerbetrieb", "Heizungswartung|Ersatzventil|Anfahrtspauschale|Kupferrohr 22mm|Arbeitsstunde|Kabelkanal 2m|Wandanstrich|Entsorgung", 18, 560),
        _trade("Großhandel|Verpackungen|Industriebedarf", "Faltkarton 40x30|Stretchfolie|Handschuhe Nitril|Kugellager 6204|Hydrauliköl 20L|Schutzhelm|Packband|Lagerbox", 4, 190),
    ),
    "fr": (
        _trade("Conseil|Studio|Informatique", "Maintenance du site|Atelier de conception|Hébergement mensuel|Heures d'assistance|Relecture|Formation sur site|Gestion de projet", 40, 900),
        _trade("Électricité|Plomberie|Bâtiment", "Entretien chaudière|Vanne de rechange|Forfait déplacement|Main d'oeuvre|Tube cuivre 22mm|Peinture murale", 20, 560),
    ),
    "es": (
        _trade("Consultores|Estudio|Informática", "Mantenimiento web|Taller de concepto|Alojamiento mensual|Horas de soporte|Formación|Gestión de proyecto", 40, 900),
        _trade("Electricidad|Fontanería|Reformas", "Revisión caldera|Válvula de repuesto|Desplazamiento|Mano de obra|Tubo cobre 22mm|Pintura pared", 20, 560),
    ),
    "it": (
        _trade("Consulenze|Studio|Informatica", "Manutenzione sito|Laboratorio di progetto|Hosting mensile|Ore di assistenza|Formazione in sede|Gestione progetto", 40, 900),
        _trade("Impianti|Idraulica|Edilizia", "Revisione caldaia|Valvola di ricambio|Diritto di chiamata|Manodopera|Tubo rame 22mm|Tinteggiatura", 20, 560),
    ),
    "nl": (
        _trade("Advies|Ontwerpstudio|Software", "Onderhoud website|Conceptworkshop|Hosting per maand|Supporturen|Tekstcorrectie|Trainingsdag|Projectleiding", 40, 900),
        _trade("Installatie|Loodgieters|Bouw", "Ketelonderhoud|Vervangend ventiel|Voorrijkosten|Arbeidsuren|Koperen buis 22mm|Schilderwerk", 20, 560),
    ),
    "pt": (
        _trade("Consultoria|Estúdio|Informática", "Manutenção do site|Oficina de conceito|Hospedagem mensal|Horas de suporte|Treinamento|Gestão de projeto", 90, 2900),
        _trade("Elétrica|Hidráulica|Construções", "Revisão de caldeira|Válvula de reposição|Taxa de visita|Mão de obra|Tubo de cobre 22mm|Pintura de parede", 40, 1900),
    ),
    "ko": (_trade("상사|기획|시스템|산업", "홈페이지 유지보수|서버 호스팅|디자인 수정|포장 상자|안전 장갑|현장 교육|기술 지원|사무용 의자|인쇄물 제작", 8000, 480000),),
}


def coined(rng: random.Random, language: str) -> str:
    """A made-up name in the sound of a language."""
    middle = rng.choice(_MIDDLES) if rng.random() < 0.7 else ""
    return rng.choice(_STARTS) + middle + rng.choice(_ENDS.get(language, _ENDS["en"]))


def company(rng: random.Random, locale: Locale, trade: Trade, capitals: float = 0.3) -> str:
    """An invented firm of a trade."""
    word = rng.choice(trade.names)
    if locale.language == "ko":
        name = "".join(rng.sample("한빛나래가온누리다솜해솔", 2))
        return rng.choice((f"(주){name}{word}", f"{name}{word}", f"주식회사 {name}{word}"))
    name = coined(rng, locale.language)
    if rng.random() < 0.25:
        name += rng.choice((" & ", " ")) + coined(rng, locale.language)
    if locale.language in ("fr", "es", "it", "pt") and rng.random() < 0.6:
        name = f"{word} {name}"
    elif locale.language == "de" and rng.random() < 0.3:
        name = f"{word} {name}"
    else:
        name = f"{name} {word}"
    name = f"{name} {rng.choice(_LEGAL[locale.code])}".strip()
    return name.upper() if rng.random() < capitals else name


def person(rng: random.Random, language: str) -> str:
    """An invented person."""
    if language == "ko":
        return rng.choice(_KOREAN_SURNAMES) + rng.choice(_FIRST["ko"])
    middle = f" {rng.choice('ABCDEFGHJKLMPRST')}." if language == "en" and rng.random() < 0.15 else ""
    return f"{rng.choice(_FIRST[language])}{middle} {coined(rng, language)}"


def address(rng: random.Random, locale: Locale) -> list[str]:
    """An invented address in its lines."""
    if locale.language == "ko":
        city = rng.choice(("서울특별시 마포구", "부산광역시 해운대구", "대전광역시 유성구", "경기도 수원시"))
        street = rng.choice(("가람로", "솔빛길", "한누리대로", "새벽로"))
        return [f"{city} {street} {rng.randrange(3, 280)}"]
    shapes = _STREETS.get(locale.code) or _STREETS[locale.language]
    numbers = {"n": rng.randrange(10, 99), "m": rng.randrange(1, 9), "p": f"{rng.randrange(10000, 99999)}"}
    lines = [rng.choice(shapes).format(name=coined(rng, locale.language), **numbers)]
    if locale.language == "en" and rng.random() < 0.4:
        lines.append(
            {"en_MY": "Taman {}", "en_SG": "{} Centre", "en_IN": "{} Layout", "en_US": "", "en_GB": "{}", "en_AU": ""}[locale.code].format(
                coined(rng, "en")
            )
        )
    lines.append(rng.choice(_PLACES[locale.code]).format(**numbers))
    return [line for line in lines if line]


def phone(rng: random.Random, locale: Locale) -> str:
    """An invented telephone number."""
    return pattern(rng, rng.choice(_PHONES.get(locale.code, ("0999 99 99 99", "0999/999999"))))


_IBAN_ACCOUNTS = {"DE": (0, 18), "AT": (0, 16), "CH": (0, 17), "FR": (0, 23), "ES": (0, 20), "IT": (1, 22), "NL": (4, 10), "GB": (4, 14)}
"""Letters and digits of an account number after the check digits."""


def iban(rng: random.Random, locale: Locale) -> str | None:
    """An IBAN with right check digits of no real account, or None where accounts have none."""
    country = locale.code[3:]
    if country not in _IBAN_ACCOUNTS:
        return None
    letters = "ABCDEFGHJKLMNPQRSTUVWXYZ"
    letter_count, digit_count = _IBAN_ACCOUNTS[country]
    account = "".join(rng.choice(letters) for _ in range(letter_count)) + "".join(str(rng.randrange(10)) for _ in range(digit_count))
    number = "".join(str(int(c, 36)) for c in account + country + "00")
    return f"{country}{98 - int(number) % 97:02}{account}"


def price(rng: random.Random, trade: Trade, locale: Locale) -> Decimal:
    """A unit price, more often a low one, in the country's coins."""
    value = Decimal(trade.lowest + (trade.highest - trade.lowest) * rng.random() ** 2)
    if locale.currency == "KRW":
        return (value / 100).quantize(Decimal(1)) * 100
    if locale.code == "en_IN":
        value *= 20
    elif locale.code == "en_MY":
        value *= 3
    if locale.code == "de_CH":
        return (value * 20).quantize(Decimal(1)) / 20
    ending = rng.choice(("0.10", "0.05", "0.01", "0.50", "0.10"))
    return max((value / Decimal(ending)).quantize(Decimal(1)) * Decimal(ending), Decimal("0.30")).quantize(Decimal("0.01"))
