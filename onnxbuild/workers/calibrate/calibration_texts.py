"""Texts that a model reads where no dataset is named: several kinds, lengths and languages, written for onnxbuild.

None of them is among the sentences of validation, so that a model is not judged on what it was calibrated with.
"""

from __future__ import annotations

CALIBRATION_TEXTS: tuple[str, ...] = (
    "The bakery on the corner closes at two, but they keep a loaf for regulars until four.",
    "No, thanks.",
    "After the flood, the archive moved its oldest volumes to the second floor, where the air is drier.",
    "How long does a passport application take?",
    "Add 250 g of lentils, 1.5 l of water and two bay leaves; simmer for 35 minutes and season at the end.",
    "The tenant must give notice in writing at least three months before the end of the term.",
    "def area(width: float, height: float) -> float:\n    return width * height",
    "I have used this tent in heavy rain on four trips, and it has never leaked. The poles are a little fiddly.",
    "Photosynthesis converts carbon dioxide and water into glucose and oxygen, using light as the source of energy.",
    "Terrible service!!! We waited 50 minutes for two cold pizzas and nobody said sorry :(",
    "The central bank left its key rate at 3.75%, citing weak demand abroad and falling prices for energy.",
    "A boy found the map inside a hollow book, folded so small that he took it for a label.",
    "Error 404: the page /docs/setup was not found. Check the address, or go back to the start page.",
    "Which of the two drugs lowers blood pressure more, and for how long does the effect last?",
    "Der Zug nach Hamburg fährt heute wegen Bauarbeiten eine halbe Stunde später ab.",
    "Wie kann ich mein Konto löschen, ohne meine Fotos zu verlieren?",
    "La réunion de jeudi est reportée à la semaine prochaine, car deux collègues sont malades.",
    "Ce restaurant est trop bruyant, mais la soupe à l'oignon vaut le détour.",
    "El museo abre de martes a domingo, y los niños menores de doce años no pagan entrada.",
    "¿Cuánto cuesta enviar un paquete de tres kilos a Chile?",
    "会议改到下周三上午十点。请提前准备好材料。",
    "这家酒店离地铁站很近。早餐也不错。",
    "Поезд опоздал на сорок минут, и мы не успели на последний автобус.",
    "A violin has four strings, tuned in fifths; a guitar has six, tuned mostly in fourths.",
    (
        "Dear Ms Okafor, thank you for your letter of 3 March. We have checked the meter, and the reading was wrong by "
        "a factor of ten. A corrected bill is enclosed; the difference will be paid back within 14 days. "
        "Please accept our apologies for the trouble that this has caused."
    ),
    "The harbour froze in January 1709, and for five weeks people crossed it on foot with carts and horses.",
    "Fix the crash when the list is empty, and add a test for it.",
    "Glaciers carve valleys in the shape of a U, whereas rivers cut valleys in the shape of a V.",
    "Her second novel is longer, darker and far better than her first.",
    "Qualified candidates have five years of experience in accounting, speak fluent Portuguese, and like to travel.",
    "SELECT name, COUNT(*) FROM orders WHERE total > 100 GROUP BY name ORDER BY 2 DESC;",
    "The goalkeeper was sent off after twelve minutes; the rest of the match was an exercise in defending.",
    "What do you call a group of crows?",
    (
        "The symptoms began three days after the trip: fever, a dry cough, and painful joints. Malaria was ruled out; "
        "the patient recovered within two weeks and has had no relapse since."
    ),
    "Light rain in the north, sunny spells elsewhere, highs of 17 to 21 degrees.",
    "He counted the money twice, put it back under the floor, and said nothing to anyone for thirty years.",
    "Please find the minutes attached. Item 4 was postponed; items 5 to 7 were approved without changes.",
    "The new bridge carries 40,000 vehicles a day, twice as many as its engineers had planned for.",
    "Octane, cetane and butane are hydrocarbons; methanol is an alcohol.",
    (
        "Once you have soldered the resistor, measure the voltage between pins 3 and 8: it should be close to 3.3 V. "
        "If it is lower, look for a bridge of solder between the pins, and check that the diode is not reversed."
    ),
    "The translation keeps the rhyme and loses the joke.",
    "In a democracy, the losers of an election accept the result, and the winners accept that they may lose the next.",
    "#travel #sunset Can't believe this view was free",
    "Two plus two is four; the square root of 144 is 12; a prime has exactly two divisors.",
    "My phone dies at 30 percent since the update. Already tried a reset. Any ideas?",
    "The court found that the clause was void, since it had not been negotiated individually.",
    "Sheep were kept for wool, goats for milk, and oxen for the plough; meat was eaten at feasts.",
    "Could you move our table nearer to the window?",
)
