"""Texts that would do something if a page took them for more than text."""

from __future__ import annotations

MARKUP = """<script>alert(1)</script><img src="x" onerror="alert(2)"><svg onload=alert(3)>
<iframe src="javascript:alert(4)">
<style>*{background:url(//elsewhere.example/style)}</style><link rel=stylesheet href=//elsewhere.example/l>
<base href="//elsewhere.example/"><meta http-equiv=refresh content="0;url=//elsewhere.example/">
</textarea></title></script><details open ontoggle=alert(5)><form action=//elsewhere.example><button>ok</button></form>
<math><mtext></mtext><mglyph><style><!--</style><img title="--&gt;&lt;img src=x onerror=alert(6)&gt;"></math>"""

REPORT = (
    MARKUP
    + """

# A <b>heading</b> [with a link](javascript:alert(10))

![picture](http://elsewhere.example/picture.png) ![x](javascript:alert(11)) ![](//elsewhere.example/p)

[script](javascript:alert(12)) [mixed](JaVaScRiPt:alert(13)) [entity](javascript&#58;alert(14))
[tab](java\tscript:alert(15))
[hex](&#x6a;avascript:alert(16)) [escaped](javascript\\:alert(17)) [data](data:text/html,<script>alert(18)</script>)
[blob](blob:http://elsewhere.example/1) [vb](vbscript:msgbox) [file](file:///etc/passwd) [space]( javascript:alert(19))
[relative](/v1/tasks) [hash](#/tasks) [network](//elsewhere.example/n) [user](http://user:secret@elsewhere.example/)
<javascript:alert(20)> [quoted](<javascript:alert(21)>) [title](http://elsewhere.example "onmouseover=alert(22)")
[good](https://elsewhere.example/good) <https://elsewhere.example/auto> [mail](mailto:someone@elsewhere.example)

| a | b |
| --- | --- |
| <img src=x onerror=alert(23)> | [cell](javascript:alert(24)) |

- <a href="javascript:alert(25)">item</a>
- `<script>alert(26)</script>`

```html
<script>alert(27)</script>
```

> <script>alert(28)</script>

&lt;script&gt;alert(29)&lt;/script&gt; &#60;img src=x onerror=alert(30)&#62;

reversed \u202egnp.exe\u202c and isolated \u2066text\u2069 and bell \u0007 and escape \u001b[31m
"""
)

DEEP = {
    "brackets": "[" * 60_000,
    "links": "[a](" * 20_000,
    "stars": "*a _b " * 20_000,
    "strong": "**a __b " * 20_000,
    "ticks": "".join("`" * (1 + number % 90) + "x" for number in range(4_000)),
    "quotes": ">" * 20_000 + " x",
    "lists": "\n".join("  " * min(depth, 2_000) + "- x" for depth in range(300)),
    "spaces": "# " + " " * 100_000 + "x",
    "table": "|" + " " * 50_000 + "\n" + "|" + "-" * 50_000 + "x\n",
    "entities": "&#" * 50_000,
    "angles": "<http:" * 30_000,
    "lines": "a  \n" * 30_000,
    "escapes": "\\" * 80_001,
    "images": "![" * 40_000,
}
"""Texts that would hold a careless reader of Markdown for long."""
