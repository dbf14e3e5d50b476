"""The part that a track plays in a mix, guessed from its name, or that it plays none."""

from __future__ import annotations

import re
import unicodedata

# The order decides: "kick room" is a room microphone, "bass synth" a bass, "snare bottom" a snare,
# "electric piano" keys. English first, then German, French, Spanish, Italian and Portuguese.
_KEYWORDS: dict[str, str] = {
    "room": r"rooms?|rm|ambien(ce|t) mics?|mono room",
    "overhead": r"over ?heads?|oh|ohs",
    "fx": r"sfx|fx|effects?|risers?|build|noise|sweeps?|impacts?|foley",
    "backing_vocal": r"(b|bg|back(ing|ground)?|gang|choir|harm\w*|double|dbl) ?(vox|voc|vocals?|voices?)|bvs?|bgvs?"
    r"|choirs?|harmon(y|ies)|(vox|vocals?|voc|voice) (double|dbl|harm\w*|bg|back\w*)"
    r"|lv (double|dbl|harm\w*)|coros?|cori|choeurs?|chor|chore|hintergrund\w*",
    "lead_vocal": r"vox|vocals?|voc|voices?|vx|sing(er|ing)|lead ?vox|rap|adlibs?|narrator|speech"
    r"|lv|voix|chant|chanteu(r|se)|voz|voces|voce|voci|gesang\w*|stimmen?|leadgesang|hauptstimme",
    "kick": r"kick\w*|kik|bass ?drum|bd|grosse caisse|bombo|bumbo|cassa",
    "snare": r"snares?|snr|sn|sd|rim ?shot|rim|claps?|caisse claire|caja|caixa|redoblante|tarola|rullante",
    "hihat": r"hats?|hi ?hats?|hh|hihats?|charley|charleston",
    "tom": r"toms?|floor ?toms?|rack ?toms?|ft|rt",
    "cymbal": r"cymbals?|cym|rides?|crash(es)?|splash|china|becken|cymbales?|platillos?|piatti|pratos?",
    "percussion": r"percs?|percussions?|shakers?|tamb|tambourine|congas?|bongos?|cowbell|cajon|triangle|djembe"
    r"|timbales?|bendir|mridangam|tabla|palmas|schlagwerk",
    "drums": r"drums?|drum ?kit|kit|beats?|loops?|drm|drs|schlagzeug|batteri(e|a)|bateria",
    "bass": r"bass|bs|basses|sub|subs|bass ?(di|amp|gtr|guitar|synth)|basse|bajo|basso|baixo|bassgitarre",
    "keys": r"keys?|keyboards?|organs?|rhodes|wurli\w*|e(lectric)? ?piano|ep|clav\w*|hammond|accordion|mallets?"
    r"|vib(es|raphone)|marimba|celesta|bells?|glock\w*|orgel|teclados?|tastier(a|e)",
    "piano": r"pianos?|pno|grand|upright|klavier|pianoforte",
    "guitar": r"guitars?|guit|gtrs?|gt|e ?gtr|a ?gtr|ac ?gtr|acoustic|electric|banjo|mandolin|ukulele|uke|slide|nylon"
    r"|\w*gitarren?|guitares?|guitarras?|chitarr(a|e)|viol(ao|oes)",
    "strings": r"strings?|violins?|violas?|cell(o|i)|vln|vla|vc|fiddle|orchestra|contrabass|harp"
    r"|streicher|geigen?|bratschen?|cordes|cuerdas|cordas|archi|violons?|violoncell\w*",
    "brass": r"brass|trumpets?|tpt|trombones?|tbn|horns?|tuba|flugel\w*"
    r"|blaser|trompet(e|en|a|as|te|tes)|posaunen?|cuivres|metales|metais|ottoni|trombe|tromba",
    "woodwind": r"sax\w*|flutes?|clarinets?|oboes?|bassoon|winds?|woodwinds?|recorder|harmonica"
    r"|klarinetten?|querflote|floten?",
    "synth": r"syn|synths?|pads?|arps?|leads?|plucks?|moog|juno|minilogue|stabs?|sequence|seq|melody|chords?|atmos\w*",
}
_PATTERNS = {role: re.compile(rf"(?:^| )(?:{keywords})(?= |$)") for role, keywords in _KEYWORDS.items()}

# Scripts without gaps between words, or with endings: parts of names, in Japanese, Chinese, Korean and Russian.
_PARTS: dict[str, str] = {
    "room": "ルーム|房间|룸",
    "overhead": "オーバーヘッド|оверх",
    "fx": "効果音|エフェクト|音效|효과음|эффект",
    "backing_vocal": "コーラス|ハモリ|和声|和聲|伴唱|合唱|코러스|бэк|chœur|(?<![а-я])хор(?![а-я])",
    "lead_vocal": "ボーカル|ヴォーカル|歌|人声|人聲|主唱|보컬|목소리|вокал|голос",
    "kick": "キック|バスドラ|底鼓|킥|бочка",
    "snare": "スネア|军鼓|軍鼓|스네어|снейр|малый барабан",
    "hihat": "ハイハット|踩镲|踩鑔|하이햇|х[аэе]й.?х[эе]т",
    "tom": "タム|嗵鼓|탐탐|(?<![а-я])том",
    "cymbal": "シンバル|镲|鑔|심벌|тарелк",
    "percussion": "パーカッション|打击|打擊|퍼커션|перкус",
    "drums": "ドラム|鼓|드럼|барабан|ударн",
    "bass": "ベース|贝斯|貝斯|베이스|(?<![а-я])бас",
    "keys": "キーボード|オルガン|鍵盤|键盘|건반|키보드|клавиш|(?<![а-я])орган|маримба|вибрафон",
    "piano": "ピアノ|钢琴|鋼琴|피아노|пиано|рояль",
    "guitar": "ギター|吉他|기타|гитар",
    "strings": "ストリングス|弦|提琴|바이올린|스트링|струн|скрип|виолонч",
    "brass": "ブラス|トランペット|铜管|銅管|브라스|(?<![а-я])труб|тромбон|духов",
    "woodwind": "サックス|フルート|萨克斯|薩克斯|长笛|색소폰|플루트|саксоф|флейт|кларнет",
    "synth": "シンセ|パッド|合成器|신스|패드|синт|(?<![а-я])пэд",
}

ROLES = tuple(_KEYWORDS)
"""Every role a track can have."""

LABELS = {role: k + 1 for k, role in enumerate(ROLES)}
"""The numbers of roles for an estimator; 0 is unknown."""

FAMILIES: dict[str, tuple[str, ...]] = {
    "drums": ("kick", "snare", "hihat", "tom", "cymbal", "overhead", "room", "percussion", "drums"),
    "vocals": ("lead_vocal", "backing_vocal"),
    "vocal": ("lead_vocal", "backing_vocal"),
    "vox": ("lead_vocal",),
    "guitars": ("guitar",),
    "keyboards": ("keys", "piano", "synth"),
    "synths": ("synth",),
}
"""Roles that are called by one name."""


def roles_called(text: str) -> tuple[str, ...]:
    """The roles that a person may mean by a word: "drums" is a family, "Lead vocals" is "lead_vocal"."""
    word = text.strip().casefold().replace(" ", "_")
    return FAMILIES.get(word, (word, word.rstrip("s")))


# What players hear and listeners do not: only whole names say so, since a "kick click" and a "guide vox" are music.
_CUE = (
    r"clicks?|clix|klicks?|clics?|click ?tracks?|klickspur|metronom\w*|claquetas?|guides?|guia|cues?|talk ?backs?"
    r"|time ?codes?|ltc|smpte|mtc"
)
_BESIDE = r"tracks?|trk|bpm|tempo|print|mono|stereo|left|right|l|r|mics?|and|und|et|y|e"
_CUES = re.compile(
    rf"(?:(?:{_BESIDE}) )*(?:{_CUE})(?: (?:{_CUE}|{_BESIDE}))*"
    rf"|.* (?:click ?tracks?|metronom\w*|talk ?backs?|time ?codes?|ltc|smpte)(?: (?:{_BESIDE}))*"
)
_CUE_PARTS = re.compile(r"(?:クリック|メトロノーム|ガイド|节拍器|節拍器|메트로놈|클릭|метроном|клик)音?")


def is_cue(name: str) -> bool:
    """Whether a name is that of what only the players are to hear: "Click", "03 Guide", "Song_LTC", "Talkback"."""
    whole = re.sub(r"[\W\d_]+", "", unicodedata.normalize("NFKC", name).casefold())
    return any(_CUES.fullmatch(text) for text in _worded(name)) or _CUE_PARTS.fullmatch(whole) is not None


def _worded(name: str) -> tuple[str, str]:
    """A name as words of small letters without accents: once parted at capitals, KickIn: kick in, and once not."""
    name = "".join(c for c in unicodedata.normalize("NFKD", name) if not unicodedata.combining(c))  # Vöx: vox
    spaced = re.sub(r"(?<=[a-z])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", " ", name)
    words, joined = (" ".join(re.sub(r"[^a-z]+", " ", text.lower()).split()) for text in (spaced, name))
    return words, joined  # HiHat stays hihat as well


def guess_role(name: str) -> str | None:
    """Guess a role of `ROLES` from a track's name, or None: "07_LeadVoxDT" gives "lead_vocal"."""
    whole = unicodedata.normalize("NFKC", name).casefold()
    for text in _worded(name):
        for role, pattern in _PATTERNS.items():
            if pattern.search(text):
                return role
    return next((role for role, parts in _PARTS.items() if re.search(parts, whole)), None)
