"""The vocabulary of the tasks on sentence pairs, by topic.

One entry is `name|other name > kind`: the names mean the same, the kind is a more general word.
A verb or a trait is `name|other name ~ opposite|other opposite > kind`; a verb's name is `past/base`, where the past
form also serves as the participle of the passive. Every verb of a topic goes with each of its objects.
"""

from __future__ import annotations

from typing import NamedTuple

OPINION = "praised/praise|applauded/applaud ~ criticised/criticise|condemned/condemn > commented on/comment on"
TASTE = "liked/like|enjoyed/enjoy ~ disliked/dislike|detested/detest > formed a view of/form a view of"
TRADE = "bought/buy|purchased/purchase ~ sold/sell|disposed of/dispose of > traded/trade"


class TopicWords(NamedTuple):
    """One topic as written: entries separated by semicolons."""

    agents: str
    objects: str
    verbs: str


MAIN: dict[str, TopicWords] = {
    "politics": TopicWords(
        "senator|lawmaker > politician; mayor|city leader > politician; ambassador|envoy > diplomat;"
        "consul|trade attache > diplomat; judge|magistrate > court official; bailiff|court usher > court official",
        "tax bill|tax proposal > plan; housing law|law on housing > rule; smoking ban|ban on smoking > rule;"
        "trade treaty|commerce pact > agreement; border accord|frontier deal > agreement;"
        "school budget|education budget > plan",
        "approved/approve|passed/pass ~ rejected/reject|turned down/turn down > ruled on/rule on;"
        "delayed/delay|postponed/postpone ~ hastened/hasten|sped up/speed up > rescheduled/reschedule;"
        "expanded/expand|broadened/broaden ~ reduced/reduce|trimmed/trim > changed/change;" + OPINION,
    ),
    "business": TopicWords(
        "manager|executive > office worker; bookkeeper|accountant > office worker; investor|shareholder > owner;"
        "founder|start-up owner > owner; architect|building designer > specialist; lawyer|attorney > specialist",
        "bakery chain|group of bakeries > company; airline|air carrier > company; paper mill|paper plant > factory;"
        "car plant|automobile works > factory; warehouse|storage hall > building; "
        "office tower|office block > building",
        "opened/open|launched/launch ~ closed/close|shut down/shut down > decided about/decide about;"
        "modernised/modernise|upgraded/upgrade ~ neglected/neglect|ignored/ignore > dealt with/deal with;"
        + OPINION
        + ";"
        + TRADE,
    ),
    "sport": TopicWords(
        "goalkeeper|goalie > footballer; striker|forward > footballer; sprinter|short-distance runner > runner;"
        "marathon runner|long-distance runner > runner; referee|umpire > official; coach|trainer > official",
        "cup final|final match > game; league fixture|league match > game; charity run|fun run > race;"
        "relay|team sprint > race; chess tournament|chess event > contest; swimming gala|swimming meet > contest",
        "won/win|triumphed in/triumph in ~ lost/lose|failed in/fail in > finished/finish;"
        "joined/join|entered/enter ~ avoided/avoid|skipped/skip > thought about/think about;"
        "organised/organise|arranged/arrange ~ cancelled/cancel|called off/call off > decided about/decide about;"
        + TASTE,
    ),
    "medicine": TopicWords(
        "surgeon|operating doctor > doctor; cardiologist|heart doctor > doctor; nurse|ward sister > health worker;"
        "paramedic|ambulance worker > health worker; biologist|cell researcher > scientist;"
        "chemist|chemical researcher > scientist",
        "flu vaccine|influenza shot > medicine; painkiller|pain tablet > medicine; "
        "cough syrup|cough mixture > medicine;"
        "heart monitor|pulse meter > device; brain scanner|head scanner > device; hearing aid|ear amplifier > device",
        "recommended/recommend|endorsed/endorse ~ warned against/warn against|opposed/oppose > judged/judge;"
        "accepted/accept|welcomed/welcome ~ refused/refuse|declined/decline > replied about/reply about;"
        "improved/improve|refined/refine ~ spoiled/spoil|ruined/ruin > changed/change;" + TRADE,
    ),
    "cooking": TopicWords(
        "chef|head cook > kitchen worker; baker|pastry cook > kitchen worker; "
        "waiter|table server > restaurant employee;"
        "barman|bartender > restaurant employee; uncle|aunt's husband > relative; grandmother|granny > relative",
        "lentil soup|lentil broth > dish; potato stew|potato casserole > dish; apple pie|apple tart > dessert;"
        "chocolate cake|cocoa sponge > dessert; lemonade|lemon drink > drink; herbal tea|herb infusion > drink",
        "heated/heat|warmed/warm ~ cooled/cool|chilled/chill > prepared/prepare;"
        "finished/finish|used up/use up ~ saved/save|set aside/set aside > handled/handle;"
        "ordered/order|requested/request ~ sent back/send back|returned/return > asked about/ask about;" + TASTE,
    ),
    "music": TopicWords(
        "violinist|fiddler > musician; pianist|piano player > musician; tenor|opera singer > singer;"
        "rapper|hip-hop vocalist > singer; critic|reviewer > journalist; reporter|correspondent > journalist",
        "love song|romantic song > song; lullaby|bedtime song > song; symphony|orchestral piece > composition;"
        "sonata|piano piece > composition; dance show|ballet evening > performance; concert|live gig > performance",
        "shortened/shorten|cut down/cut down ~ lengthened/lengthen|prolonged/prolong > changed/change;"
        "remembered/remember|recalled/recall ~ missed/miss|overlooked/overlook > heard/hear;"
        "promoted/promote|advertised/advertise ~ banned/ban|prohibited/prohibit > discussed/discuss;" + OPINION,
    ),
    "school": TopicWords(
        "teacher|schoolmaster > staff member; librarian|keeper of the books > staff member; "
        "pupil|schoolchild > learner;"
        "trainee|apprentice > learner; mother|mum > parent; father|dad > parent",
        "history essay|essay on history > text; book report|book summary > text; spelling test|spelling quiz > exam;"
        "maths paper|maths exam > exam; school play|pupils' play > show; talent night|talent evening > show",
        "completed/complete|finished/finish ~ abandoned/abandon|dropped/drop > worked on/work on;"
        "simplified/simplify|made easier/make easier ~ complicated/complicate|made harder/make harder > "
        "changed/change;"
        "remembered/remember|recalled/recall ~ missed/miss|overlooked/overlook > heard of/hear of;" + TASTE,
    ),
    "building": TopicWords(
        "plumber|pipe fitter > tradesman; carpenter|joiner > tradesman; tenant|lodger > resident;"
        "neighbour|person next door > resident; banker|lender > financier; insurer|insurance agent > financier",
        "stone bridge|bridge of stone > structure; water tower|water tank > structure; cottage|cabin > house;"
        "villa|country house > house; garage|car shed > outbuilding; barn|hay shed > outbuilding",
        "repaired/repair|fixed/fix ~ damaged/damage|wrecked/wreck > altered/alter;"
        "built/build|put up/put up ~ demolished/demolish|pulled down/pull down > worked on/work on;"
        "cleaned/clean|washed/wash ~ dirtied/dirty|soiled/soil > touched/touch;" + TRADE,
    ),
}

OTHER: dict[str, TopicWords] = {
    "sea": TopicWords(
        "captain|skipper > seafarer; sailor|deckhand > seafarer; harbour pilot|port guide > port worker;"
        "docker|stevedore > port worker; diver|frogman > swimmer; lifeguard|beach guard > swimmer",
        "cargo ship|freighter > vessel; fishing boat|trawler > vessel; lighthouse|beacon tower > landmark;"
        "pier|jetty > landmark; anchor|mooring hook > gear; fishing net|trawl net > gear",
        "repaired/repair|mended/mend ~ damaged/damage|wrecked/wreck > altered/alter;"
        "found/find|located/locate ~ lost/lose|mislaid/mislay > looked for/look for;" + OPINION + ";" + TRADE,
    ),
    "farming": TopicWords(
        "shepherd|sheep farmer > farmer; dairyman|milk farmer > farmer; vet|animal doctor > expert;"
        "botanist|plant scientist > expert; rider|horseman > traveller; hiker|rambler > traveller",
        "wheat field|corn field > land; orchard|fruit garden > land; tractor|farm engine > machine;"
        "milking robot|automatic milker > machine; pony|small horse > animal; lamb|young sheep > animal",
        "protected/protect|guarded/guard ~ harmed/harm|injured/injure > affected/affect;"
        "accepted/accept|welcomed/welcome ~ refused/refuse|declined/decline > inspected/inspect;" + TASTE + ";" + TRADE,
    ),
    "space": TopicWords(
        "astronaut|spacewoman > crew member; flight engineer|onboard technician > crew member;"
        "astronomer|stargazer > researcher; physicist|physics professor > researcher;"
        "spokesman|press officer > agency employee; controller|mission operator > agency employee",
        "moon rover|lunar car > vehicle; supply rocket|cargo rocket > vehicle; "
        "space telescope|orbital telescope > instrument;"
        "radio dish|radio antenna > instrument; space walk|spacewalk outside > mission; "
        "comet flyby|comet visit > mission",
        "delayed/delay|postponed/postpone ~ hastened/hasten|sped up/speed up > rescheduled/reschedule;"
        "approved/approve|endorsed/endorse ~ rejected/reject|opposed/oppose > judged/judge;"
        "described/describe|explained/explain ~ ignored/ignore|left out/leave out > considered/consider;" + OPINION,
    ),
    "museum": TopicWords(
        "curator|collection keeper > employee; night guard|night watchman > employee; painter|portraitist > artist;"
        "sculptor|stone carver > artist; tourist|sightseer > visitor; collector|art lover > visitor",
        "oil portrait|painted portrait > picture; woodcut|wood print > picture; "
        "marble statue|statue of marble > sculpture;"
        "bronze bust|head of bronze > sculpture; roman coin|coin from rome > relic; clay lamp|earthen lamp > relic",
        "displayed/display|exhibited/exhibit ~ concealed/conceal|covered up/cover up > handled/handle;"
        "restored/restore|repaired/repair ~ damaged/damage|ruined/ruin > altered/alter;" + TASTE + ";" + TRADE,
    ),
}

TRAITS = (
    "famous|well-known ~ obscure|little-known > -; expensive|costly ~ cheap|inexpensive > -;"
    "large|big ~ small|little > -; unusual|rare ~ ordinary|common > -; modern|up-to-date ~ dated|old-fashioned > -"
)
CITIES = (
    "Lisbon > Portugal; Porto > Portugal; Madrid > Spain; Seville > Spain; Paris > France; Lyon > France;"
    "Berlin > Germany; Hamburg > Germany; Rome > Italy; Naples > Italy; Vienna > Austria; Graz > Austria;"
    "Oslo > Norway; Bergen > Norway; Cairo > Egypt; Nairobi > Kenya; Tokyo > Japan; Osaka > Japan; Delhi > India;"
    "Mumbai > India; Toronto > Canada; Montreal > Canada; Chicago > America; Boston > America"
)
TIMES = (
    "on Monday|on the first day of the week > last week; on Wednesday|in the middle of the week > last week;"
    "on Friday|on the last working day > last week; in January|in the first month > last winter;"
    "in February|shortly before March > last winter; in April|shortly after March > last spring;"
    "in May|shortly before June > last spring; in July|shortly after June > last summer;"
    "in August|shortly before September > last summer; in October|shortly after September > last autumn;"
    "at noon|at midday > during the day; in the morning|before noon > during the day;"
    "at midnight|in the middle of the night > at night; after sunset|after dark > at night"
)
PURPOSES = (
    "to save money|to cut costs > for financial reasons; to earn more|to raise income > for financial reasons;"
    "to please the neighbours|to make the neighbours happy > for the sake of others;"
    "to help the poor|to support people in need > for the sake of others;"
    "to win a bet|to settle a wager > for fun; to surprise a friend|to astonish a friend > for fun;"
    "to avoid an accident|to prevent a mishap > for safety; to protect the children|to keep the children safe > "
    "for safety;"
    "to gain attention|to get noticed > for fame; to impress the press|to dazzle reporters > for fame"
)
DELAYS = (
    "after two days of doubt|after 2 days of hesitation > after some days;"
    "after four days of doubt|after 4 days of hesitation > after some days;"
    "after three weeks of talks|after 3 weeks of discussion > after some weeks;"
    "after six weeks of talks|after 6 weeks of discussion > after some weeks;"
    "after five months of planning|after 5 months of preparation > after some months;"
    "after nine months of planning|after 9 months of preparation > after some months"
)
SOURCES = (
    "the local paper reported; witnesses said; according to a statement; officials confirmed; a friend told us;"
    "the radio announced; several visitors noted; as the family later explained"
)
