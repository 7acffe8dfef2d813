/// What shows latents. Text enters the page as text alone (`textContent`), never as markup.
let latentsScript = """
    (() => {
    const at = id => document.getElementById(id), read = id => JSON.parse(at(id).textContent);
    const index = read("latents-index"), byLatent = new Map(index.latents.map((latent, i) => [latent.j, {...latent, i}]));
    const all = [...byLatent.values()], chunks = new Map();
    const make = (name, attributes = {}, ...children) => {
      const element = document.createElement(name);
      for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
      element.append(...children);
      return element;
    };
    const drawn = (name, attributes, ...children) => {
      const element = document.createElementNS("http://www.w3.org/2000/svg", name);
      for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
      element.append(...children);
      return element;
    };
    const size = value => Math.abs(value);
    const shown = value => (value === 0 ? "0" : size(value) < 0.01 ? value.toPrecision(2) : value.toFixed(size(value) < 10 ? 2 : 1))
      .replace("-", "−");
    const percent = value => shown(100 * value) + "%";
    const visible = text => text.replaceAll(" ", "␣");

    // What latents are sorted by: a name, its value (larger first, or smaller where said), and how that is shown.
    const keys = [
      ["how often it fires", l => l.f, percent], ["largest activation", l => l.m, shown],
      ...index.methods.map((name, i) => [name, l => l.v[i], shown]),
      ["rank in the core", l => l.r, String, true], ["birth", l => l.b, String, true], ["number", l => l.j, String, true],
    ].filter(([, value]) => all.some(latent => value(latent) != null));
    const [search, sort, reverse, core, birth] = ["search", "sort", "reverse", "core", "birth"].map(name => at("latent-" + name));
    sort.append(...keys.map(([name], i) => make("option", {value: i}, name)));
    const ranked = keys.findIndex(([name]) => name === "rank in the core");
    if (ranked >= 0) sort.value = ranked;
    const births = [...new Set(all.map(l => l.b).filter(b => b != null))].sort((a, b) => a - b);
    birth.append(...births.map(b => make("option", {value: b}, String(b))));
    at("latent-core-choice").hidden = ranked < 0;
    at("latent-birth-choice").hidden = births.length < 2;

    const list = at("latent-rows"), detail = at("latent-detail");
    for (const latent of all) {
      latent.value = make("small");
      latent.link = make("a", {id: "latent-" + latent.j, href: "#latent-" + latent.j}, make("b", {}, String(latent.j)), " ", latent.value,
        make("span", {}, latent.w.slice(0, 5).map(visible).join(" ")));
      latent.row = make("li", {}, latent.link);
      latent.text = latent.w.join("\\u0000").toLowerCase();
    }
    const arrange = () => {
      const [, value, form, rises] = keys[sort.value], wanted = search.value.toLowerCase();
      const direction = (rises ? 1 : -1) * (reverse.checked ? -1 : 1);
      const number = /^\\d+$/.test(wanted.trim()) ? Number(wanted) : null;
      const order = [...all].sort((a, b) => {
        const [x, y] = [value(a), value(b)];
        if (x == null || y == null) return (x == null) - (y == null) || a.j - b.j;
        return direction * (x - y) || a.j - b.j;
      });
      let count = 0;
      for (const latent of order) {
        const is = value(latent);
        latent.value.textContent = is == null ? "–" : form(is);
        latent.row.hidden = !((wanted === "" || latent.j === number || latent.text.includes(wanted))
          && (core.value === "" || (core.value === "in") === (latent.r != null))
          && (birth.value === "" || String(latent.b) === birth.value));
        count += !latent.row.hidden;
      }
      list.replaceChildren(...order.map(latent => latent.row));
      at("latent-count").textContent = `${count} of ${all.length} latents`;
    };
    [search, sort, reverse, core, birth].forEach(control => control.addEventListener("input", arrange));

    const load = number => {
      if (!chunks.has(number)) {
        const file = encodeURIComponent(index.folder ?? "") + "/" + number + ".json";
        chunks.set(number, index.folder === null ? Promise.resolve(read("latents-" + number))
          : fetch(file).then(answer => answer.ok ? answer.json() : Promise.reject(new Error(String(answer.status)))));
        chunks.get(number).catch(() => chunks.delete(number));
      }
      return chunks.get(number);
    };
    const bars = (histogram, what, of, counted) => {
      const most = Math.max(1, ...histogram.counts), n = histogram.counts.length, step = 300 / Math.max(1, n);
      const rects = histogram.counts.map((count, i) => drawn("rect", {
        x: (i * step).toFixed(2), y: (60 - 60 * count / most).toFixed(2), width: (0.9 * step).toFixed(2), height: (60 * count / most).toFixed(2)}));
      const said = `${what}, ${shown(histogram.low)} to ${shown(histogram.high)}; at most ${most} in a bar`;
      const svg = drawn("svg", {class: "plot bars", viewBox: "0 0 300 60", role: "img", "aria-label": said}, ...rects);
      const figure = make("figure", {}, svg, make("figcaption", {}, said)), end = i => histogram.low + i * (histogram.high - histogram.low) / n;
      svg.dataset.numbers = `from,to,${counted}\n` + histogram.counts.map((count, i) => `${end(i)},${end(i + 1)},${count}\n`).join("");
      offerSaving(svg, `${of} ${what}`);
      return figure;
    };
    const context = ([tokens, peak, firing], largest, texts) => {
      const activations = new Map();
      for (let i = 0; i < firing.length; i += 2) activations.set(firing[i], firing[i + 1]);
      const line = make("div", {class: "context"}, make("small", {}, shown(activations.get(peak) ?? 0)));
      tokens.forEach((token, i) => {
        const text = texts[token], value = activations.get(i);
        if (value === undefined) { line.append(text); return; }
        // The space before a word is left unshaded; a token of nothing but spaces shows them.
        const blank = text.trim() === "", space = !blank && text.startsWith(" ") ? " " : "";
        const word = blank ? visible(text) : text.slice(space.length);
        const heat = make("span", {class: "heat", title: shown(value)}, i === peak ? make("b", {}, word) : word);
        heat.style.setProperty("--heat-share", (0.15 + 0.6 * Math.min(1, value / largest)).toFixed(2));
        line.append(space, heat);
      });
      return line;
    };
    const links = pairs => pairs.flatMap(([j, value], i) => [i ? ", " : "",
      byLatent.has(j) ? make("a", {href: "#latent-" + j}, String(j)) : String(j), " ", make("small", {}, `(${shown(value)})`)]);
    const words = (pairs, texts) => pairs.flatMap(([token, value]) =>
      [make("code", {title: shown(value) + " logits per unit"}, visible(texts[token])), " "]);
    const fill = (latent, own, texts) => {
      const lines = [
        ["core", latent.r == null ? [] : [`rank ${latent.r}, born in cycle ${latent.b}, selected in ${(latent.s ?? []).join(", ")}`]],
        ["scores", index.methods.flatMap((name, i) => latent.v[i] == null ? []
          : [make("span", {class: "series"}, name + " ", make("b", {}, shown(latent.v[i]))), " "])],
        ["fires on", [`${percent(latent.f)} of the tokens, up to ${shown(latent.m)}`]],
        ["promotes", words(own.up, texts)], ["suppresses", words(own.down, texts)],
        ["nearest", links(own.near)], ["fires with", links(own.with)],
      ].filter(([, parts]) => parts.length);
      const contexts = own.levels.filter(level => level.contexts.length).flatMap(level => [
        make("h4", {}, `${shown(level.low)} to ${shown(level.high)}: ${level.tokens} token${level.tokens === 1 ? "" : "s"}`),
        ...level.contexts.map(c => context(c, latent.m, texts))]);
      detail.replaceChildren(
        make("h3", {}, "Latent " + latent.j + " ", make("a", {href: "#latent-" + latent.j, class: "permalink"}, "link")),
        make("dl", {}, ...lines.flatMap(([name, parts]) => [make("dt", {}, name), make("dd", {}, ...parts)])),
        make("div", {class: "pair"},
          ...(own.acts.counts.length ? [bars(own.acts, "activations where it fires", "latent " + latent.j, "tokens")] : []),
          bars(own.logits, "logits per unit", "latent " + latent.j, "tokens of the vocabulary")),
        ...(own.top.length ? [make("h4", {}, "Highest"), ...own.top.map(c => context(c, latent.m, texts))]
          : [make("div", {class: "context"}, "It did not fire.")]), ...contexts);
    };
    let current = null;
    const show = async latent => {
      current?.link.removeAttribute("aria-current");
      current = latent;
      latent.link.setAttribute("aria-current", "true");
      try {
        const chunk = await load(Math.floor(latent.i / index.size));
        if (current === latent) fill(latent, chunk.latents[latent.i % index.size], chunk.texts);
      } catch (error) {
        detail.replaceChildren(make("h3", {}, "Latent " + latent.j), make("p", {},
          `The details lie beside this page and cannot be read from here (${error.message}); dmsae serve PAGE shows them.`));
      }
    };
    const named = () => byLatent.get(Number(/^#latent-(\\d+)$/.exec(location.hash)?.[1] ?? NaN));
    const follow = () => {
      const latent = named();
      if (!latent) return;
      latent.link.scrollIntoView({block: "nearest"});
      show(latent);
    };
    addEventListener("hashchange", follow);
    document.addEventListener("click", event => {
      const link = event.target.closest?.("a[href^='#latent-']"), latent = link && byLatent.get(Number(link.hash.slice(8)));
      if (!latent || event.ctrlKey || event.metaKey || event.shiftKey) return;
      // By hand: the browser would scroll the whole page to the list.
      event.preventDefault();
      history.pushState(null, "", link.hash);
      if (latent.row.hidden) { search.value = core.value = birth.value = ""; arrange(); }
      show(latent);
      (matchMedia("(max-width: 720px)").matches ? detail : latent.row).scrollIntoView({block: "nearest"});
    });
    addEventListener("popstate", follow);
    document.addEventListener("keydown", event => {
      if (event.target.matches("input, select")) return;
      if (event.key === "/") { event.preventDefault(); search.focus(); return; }
      const step = {ArrowDown: 1, ArrowUp: -1}[event.key];
      if (!step || !current || !(event.target === document.body || list.contains(event.target))) return;
      const rows = [...list.children].filter(row => !row.hidden), next = rows[rows.indexOf(current.row) + step];
      if (!next) return;
      event.preventDefault();
      const latent = byLatent.get(Number(next.firstChild.hash.slice(8)));
      history.replaceState(null, "", latent.link.hash);
      latent.link.focus();
      show(latent);
    });
    arrange();
    const often = all.filter(latent => latent.f > 0).map(latent => Math.log10(latent.f));
    if (often.length > 1) {
      const low = Math.min(...often), high = Math.max(...often), counts = new Array(40).fill(0);
      for (const value of often) counts[Math.min(39, Math.floor(40 * (value - low) / (high - low || 1)))]++;
      at("latent-density").append(...bars({low, high, counts}, "how often the latents fire, as log₁₀ of the share of tokens", "", "latents").children);
    }
    const first = named() ?? byLatent.get(Number(list.querySelector("li:not([hidden]) a")?.hash.slice(8)));
    if (first) { show(first); if (named()) first.link.scrollIntoView({block: "nearest"}); }
    })();
    """
