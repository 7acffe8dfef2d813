/// What every page looks like. Colours are set twice, for light and dark; paper is always light. Shades that say
/// something are printed although browsers leave backgrounds out.
let stylesheet = """
    :root{--ink:#1b1f24;--soft:#57606a;--line:#d5dae0;--paper:#fff;--tint:#f3f5f7;--heat:86,160,210;
    --c0:#0072b2;--c1:#d55e00;--c2:#009e73;--c3:#c66a9c;--c4:#8a7a00;--c5:#45a5dc;--c6:#d98f00;--c7:#57606a}
    @media screen and (prefers-color-scheme:dark){
    :root{--ink:#e7eaee;--soft:#9aa5b1;--line:#39424c;--paper:#14181d;--tint:#1f262e;--heat:20,110,165;
    --c0:#4ba6e0;--c1:#f0813a;--c2:#2bc79b;--c3:#e39cc4;--c4:#d9c94a;--c5:#8fd0f5;--c6:#ffbf47;--c7:#9aa5b1}}
    *{box-sizing:border-box}
    body{margin:0;background:var(--paper);color:var(--ink);overflow-wrap:anywhere;
    font:15px/1.5 system-ui,-apple-system,"Segoe UI",Roboto,"DejaVu Sans",sans-serif;-webkit-text-size-adjust:100%}
    main{max-width:1080px;margin:0 auto;padding:24px 16px 64px}
    h1{font-size:1.5em;line-height:1.25;margin:0 0 .5em}h2{font-size:1.2em;margin:2.2em 0 .4em}
    h3{font-size:1em;margin:1em 0 .3em}p,ul{margin:.5em 0;max-width:76ch}ul{padding-left:1.2em}li{margin:.25em 0}
    a{color:var(--c0)}nav{display:flex;flex-wrap:wrap;gap:.3em 1em;margin-top:1em;font-size:.93em}
    .lead{font-size:1.15em}.note,.facts{color:var(--soft)}.facts{max-width:none;display:flex;flex-wrap:wrap;gap:.1em 1.2em}
    .scroll{overflow-x:auto}
    table{border-collapse:collapse;font-variant-numeric:tabular-nums;font-size:.93em;line-height:1.35}
    th,td{padding:.35em .5em;text-align:right;vertical-align:top;border-bottom:1px solid var(--line);white-space:nowrap}
    thead th{font-weight:600;color:var(--soft);vertical-align:bottom;white-space:normal;overflow-wrap:normal}
    th:first-child{text-align:left;padding-left:0}
    tbody th{position:sticky;left:0;background:var(--paper);font-weight:400}
    .named tbody th{white-space:normal;overflow-wrap:break-word;min-width:7.5em;max-width:24em}
    small{color:var(--soft);font-size:.86em}td small,tbody th small{display:block}
    td small{font-weight:400}td code{white-space:pre}
    .matrix td{padding:1px;text-align:center;vertical-align:middle}.matrix thead th{text-align:center;white-space:nowrap}
    .matrix tbody th{vertical-align:middle;border:0}.matrix b{padding:.5em .1em;display:block}
    .heat{background:rgba(var(--heat),var(--heat-share));print-color-adjust:exact;-webkit-print-color-adjust:exact}
    .matrix .heat{display:block;padding:.5em .1em;min-width:2.9em}
    .grid{display:grid;grid-template-columns:repeat(auto-fill,minmax(min(100%,400px),1fr));gap:20px 28px;margin-top:.5em}
    figure{margin:0;min-width:0}figcaption{color:var(--soft);font-size:.9em;margin-top:.2em;max-width:60ch}
    .save{margin:.2em 0 0}.save button{font:inherit;font-size:.8em;color:var(--c0);background:none;border:0;padding:.2em .4em .2em 0;cursor:pointer;
    text-decoration:underline}.plot{width:100%;max-width:480px;height:auto;display:block}
    .plot text{fill:var(--soft);font:12px system-ui,"DejaVu Sans",sans-serif}
    .frame{stroke:var(--line);fill:none}.grid-line{stroke-dasharray:1 4}.part{stroke:var(--paper)}
    .guide{stroke:var(--soft);stroke-dasharray:1.5 3;fill:none}.whisker{fill:none;stroke-width:1.6}.dots{fill:var(--c0);fill-opacity:.5}
    .key{height:12px;vertical-align:-1px;flex:none}.series{white-space:nowrap}
    .legend{display:flex;flex-wrap:wrap;gap:.25em 1.3em;margin:.5em 0;font-size:.92em}
    .legend i{display:inline-block;width:1em;height:1em;margin-right:.15em;vertical-align:-.12em;
    print-color-adjust:exact;-webkit-print-color-adjust:exact}
    .choices{display:flex;flex-wrap:wrap;gap:.5em 1.2em}
    select,input[type=search]{font:inherit;color:inherit;background:var(--tint);border:1px solid var(--line);border-radius:4px;
    padding:.25em;max-width:100%}
    .card{border:1px solid var(--line);border-radius:6px;padding:12px 14px;min-width:0}.card h3{margin:0 0 .2em}
    .card dl{margin:.4em 0;font-size:.9em;display:grid;grid-template-columns:auto 1fr;gap:.2em .8em}
    .card dt{color:var(--soft)}.card dd{margin:0}
    .context{font:.82em/1.65 ui-monospace,"DejaVu Sans Mono",monospace;margin:.4em 0 0;padding-top:.4em;
    border-top:1px solid var(--line);white-space:pre-wrap;unicode-bidi:isolate}
    .context small{margin-right:.8em}.context b{font-weight:700;text-decoration:underline;text-underline-offset:2px}
    .browser{display:grid;grid-template-columns:minmax(200px,280px) minmax(0,1fr);gap:16px;align-items:start;margin-top:.5em}
    .rows{list-style:none;margin:0;padding:0;max-height:86vh;overflow-y:auto;position:sticky;top:8px;border:1px solid var(--line);
    border-radius:6px}.rows a{display:block;padding:.3em .6em;color:inherit;text-decoration:none;border-bottom:1px solid var(--line)}
    .rows small{float:right;font-variant-numeric:tabular-nums}
    .rows span{display:block;font:.78em/1.4 ui-monospace,"DejaVu Sans Mono",monospace;color:var(--soft);white-space:nowrap;overflow:hidden;
    text-overflow:ellipsis}.rows a[aria-current]{background:var(--tint);box-shadow:inset 3px 0 var(--c0)}
    .rows a:focus-visible{outline:2px solid var(--c0);outline-offset:-2px}h4{font-size:.95em;margin:1em 0 .2em}.card h4{font-size:.9em;margin:1em 0 0;color:var(--soft)}
    .permalink{font-size:.8em;font-weight:400}.pair{display:flex;flex-wrap:wrap;gap:12px 24px;margin:.8em 0}.pair figure{flex:1 1 240px}
    .bars rect{fill:var(--c0)}#latent-density{margin-top:1.5em}
    @media(max-width:720px){.browser{grid-template-columns:minmax(0,1fr)}.rows{max-height:38vh;position:static}}
    code{font-family:ui-monospace,"DejaVu Sans Mono",monospace;background:var(--tint);padding:0 .25em;border-radius:3px;
    white-space:pre-wrap}
    @media print{.save{display:none}@page{margin:14mm}body{font-size:11px}main{max-width:none;padding:0}nav{display:none}
    h2,h3,.legend,.choices{break-after:avoid}figure,.card,.legend,tr{break-inside:avoid}.scroll{overflow:visible}
    table{font-size:.85em}th,td{padding:.3em .35em}tbody th{position:static}.named tbody th{min-width:0}
    .grid{grid-template-columns:1fr 1fr;gap:12px 18px}.rows,.choices:has(#latent-search){display:none}
    .browser{display:block}select{border:0;background:none;appearance:none}}
    """.replacing("\n", with: "")
