"""Texts to check an export with, where the user gives none: short, long, empty, odd, in several scripts."""

TEXTS = (
    "what is a pot still",
    "Does vitamin D reduce the risk of severe acute respiratory infections?",
    "copper",
    "",
    "   ",
    "The spirit runs from the still into the receiver: first the foreshots, then the heart, then the feints.",
    "0-dimensional biomaterials show inductive properties.",
    "CO2 at 415.2 ppm (2021), up 2.4 ppm/yr — see Fig. 3b & Table 12!",
    "naïve café, Straße, Ångström, señor, Čapek",
    "蒸留所はどこですか",
    "как перегоняют виски",
    "ما هو التقطير",
    "🥃🔥",
    "a " * 40,
    "Barley is malted, mashed with hot water, fermented with yeast and distilled twice. " * 30,
    "query: passage: [CLS] title [SEP] text",
    "e-mail me at someone@example.org, or see https://example.org/a?b=c#d",
)
