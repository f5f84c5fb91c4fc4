"""What services and programs call their errors: by names, as in `rate_limit_error`, and in words.

Names are without what is no letter and without "error" or "exception" at the end. Of the words the first that fit
count, so what is more particular comes first: a quota of requests a minute is a rate, any other is used up.
"""

from __future__ import annotations

import re

from .events import Kind

_NAMES: tuple[tuple[Kind, str], ...] = (
    ("usage", "usagelimit usagelimitreached usagelimitexceeded insufficientquota quotaexceeded terminalquota billing"),
    ("usage", "billingnotactive creditbalancetoolow paymentrequired insufficientcredits modelrequiresusagecredits"),
    ("usage", "longcontextcreditsrequired freeusagelimit monthlyusagelimit usagenotincluded budgetexceeded credits"),
    ("rate", "ratelimit ratelimited ratelimitexceeded ratelimitreached toomanyrequests throttling retryablequota"),
    ("rate", "resourceexhausted routerratelimit concurrencylimitexceeded requestsexceeded"),
    ("overload", "overloaded serviceunavailable unavailable serveroverloaded serverisoverloaded modeloverloaded"),
    ("overload", "slowdown capacityexceeded"),
    ("auth", "authentication authenticationfailed invalidapikey unauthorized unauthenticated permission forbidden"),
    ("auth", "permissiondenied oauthorgnotallowed accountonhold verificationrequired cloudcredential providerauth"),
    ("auth", "fatalauthentication invalidauthentication storedloginrefused oauthrefreshstorerefused"),
    ("auth", "providercredentials gatewaysigninrequired gatewaysessionexpired apikeyauthdisabled"),
    ("auth", "orgdisabledcredential invalidcredentialheader gatewayaccessdenied"),
    ("context", "contextlengthexceeded contextwindowexceeded contextoverflow prompttoolong promptistoolong"),
    ("context", "requesttoolarge messageovercontextlimit autocompactthrashing contextwindowwilloverflow"),
    ("context", "modelcontextwindowexceeded blockinglimit rapidrefillbreaker"),
    ("network", "apiconnection connection connectionfailed timeout apitimeout apiconnectiontimeout streamidletimeout"),
    ("network", "noresponse networkedgeblocked tlsuntrustedca tlscertsignaturefailure responsestreamdisconnected"),
    ("network", "responsestreamconnectionfailed httpconnectionfailed deadlineexceeded computerslept"),
    ("network", "connectionrefused invalidstream"),
    ("server", "server internal internalserver api badgateway gatewaytimeout apiresponsevalidation"),
    ("turns", "maxturns turnlimited fatalturnlimited maxturnsexceeded turnlimit timeexceeded"),
    ("budget", "budgetexhausted maxbudgetusd"),
    ("loop", "loopdetected"),
    ("other", "notfound modelnotfound contentpolicyviolation contentfilter invalidprompt cyberpolicy"),
)
NAMES: dict[str, Kind] = {name: kind for kind, names in _NAMES for name in names.split()}

_WORDS: tuple[tuple[Kind, tuple[str, ...]], ...] = (
    ("rate", (r"(?:requests|tokens?|quota)[a-z' ]{0,30} per[ _-]?(?:second|minute)", r"\b[rt]pm\b")),
    ("rate", ("resource has been exhausted",)),
    ("context", (r"context[ _-]?(?:length|window|limit|size)", "maximum context", "room in the model")),
    (
        "context",
        (r"(?:prompt|input|conversation|session|history) (?:is |was )?too (?:long|large)", "request too large"),
    ),
    ("context", (r"too many (?:input )?tokens", "token limit", "input token count")),
    ("context", (r"exceeds? (?:the )?(?:model'?s? )?max\w* (?:number of )?(?:tokens|context|input)",)),
    ("usage", (r"usage[ _-]?(?:limit|cap|exceeded)", r"(?:hit|reached|exceeded) your (?:\S+ ){0,3}limit", "quota")),
    ("usage", (r"(?:hour|session|weekly|daily|monthly|opus|sonnet|plan|spend\w*|free tier) (?:usage )?limit",)),
    ("usage", (r"(?:out of|insufficient|no|more|extra|enough) (?:\w+ )?(?:credits?|balance|funds)", "credit balance")),
    (
        "usage",
        ("billing", "payment required", r"limit reached ?\|", r"upgrade to (?:plus|pro)\b", "usage not included"),
    ),
    ("rate", (r"rate[ _-]?limit", r"too many (?:concurrent )?(?:requests|connections)", "limiting requests")),
    ("rate", ("throttl", "slow down", r"(?:requests|tokens) per", r"concurren\w+ (?:\w+ )?limit")),
    ("usage", (r"\bresets (?:at |in |on |[a-z]{3,9} )?\d",)),
    ("overload", ("overload", r"(?:at|over) capacity", r"capacity (?:constraint|exceeded)", "temporarily unavailable")),
    ("overload", (r"(?:service|server|model)[a-z ]{0,12} (?:busy|unavailable)",)),
    ("auth", (r"api[ _-]?key", "unauthori[sz]ed", "unauthenticated", "authenticat", "oauth", r"credentials?\b")),
    ("auth", (r"\b(?:log|sign)(?:ged|ed)? ?in\b", "/login", "forbidden", "access denied")),
    ("auth", (r"(?:expired|invalid|revoked)[a-z ]{0,12} token", r"token[a-z ]{0,16} (?:expired|invalid|revoked)")),
    ("other", (r"\bnot exist\b",)),  # a model, where who asks may also have no access to it
    ("auth", (r"permission[ _](?:denied|error)", r"not have (?:permission|access)")),
    ("auth", (r"(?:organization|account|workspace)[a-z ]{0,20} (?:disabled|deactivated|suspended|on hold)",)),
    ("other", ("flagged", r"(?:usage|content|safety) polic", "content_?filter", "max_output_tokens")),
    ("server", (r"error (?:occurred )?while processing", r"(?:empty|malformed) (?:or malformed )?response")),
    ("network", (r"\be(?:conn[a-z]+|timedout|pipe|notfound|ai_again|hostunreach|netunreach)\b", "socket", r"\bdns\b")),
    ("network", ("getaddrinfo", "name resolution", "network", r"connect(?:ion)?\b", "connecting", "fetch failed")),
    (
        "network",
        (r"timed? ?out", "timeout", r"\bterminated\b", "disconnected", "unreachable", r"premature(?:ly)? clos"),
    ),
    ("network", ("hang ?up", "error decoding response body", "peer closed", r"incomplete (?:chunked|read)")),
    ("network", (r"(?:unterminated|unexpected end)[a-z ]{1,20}\bjson",)),
    ("network", (r"\b(?:tls|ssl)\b", "certificate", r"stream (?:ended|closed|error)", "without a finish reason")),
    ("server", (r"internal (?:server )?error", "server error", "server had an error", "bad gateway", "gateway time")),
    ("server", ("high demand", "something went wrong on our", r"error on our (?:side|end)", "temporary errors")),
    ("turns", (r"max\w* (?:number of )?(?:session )?(?:turns|steps|iterations)",)),
    ("budget", (r"max\w* (?:budget|cost)", r"budget (?:is )?(?:exceeded|exhausted|reached)", "cost limit")),
    ("loop", ("loop detected",)),
)
WORDS = tuple((kind, re.compile("|".join(phrases))) for kind, phrases in _WORDS)
NO_QUOTA = re.compile(r"not your (?:usage|account)[a-z ]{0,12} limit|\(e\.g\. check quota\)")
STATUS_IN_WORDS = re.compile(r"(?:status|code|error|http|rejected|failed)[\"' a-z:=(/.0-9]{0,14}?\b([45]\d\d)\b")
