// Runs in a report and says what is wrong with it, as [kind, detail] pairs. `expected` names the sections and what each
// must hold; `width` is that of the view.
async (expected, width) => {
  const faults = [];
  const fault = (kind, detail) => faults.push([kind, String(detail).slice(0, 200)]);
  const all = (selector, root = document) => [...root.querySelectorAll(selector)];
  const describe = element =>
    `<${element.tagName.toLowerCase()}${element.id ? "#" + element.id : ""}> "${element.textContent.trim().slice(0, 40)}"`;

  // A latent's details may come from a server.
  for (let i = 0; i < 100 && document.querySelector("#latent-detail") && !document.querySelector("#latent-detail svg"); i++) {
    await new Promise(done => setTimeout(done, 20));
  }

  // The page may not be wider than the view; what is wide scrolls on its own.
  const extent = document.documentElement.scrollWidth;
  if (extent > width) {
    const inside = e => e.closest(".scroll") && getComputedStyle(e.closest(".scroll")).overflowX !== "visible";
    const widest = all("main *").filter(e => e.getBoundingClientRect().right > width + 0.5 && !inside(e)).pop();
    fault("overflow", `${extent} px in a view of ${width}, by ${widest ? describe(widest) : "nothing in <main>"}`);
  }

  // What was found comes first, and before anyone has to scroll.
  const lead = document.querySelector("h1 + p.lead");
  if (!lead || lead.textContent.trim().length < 20 || lead.getBoundingClientRect().top > 400) {
    fault("lead", "the page does not begin with what was found");
  }

  for (const [id, parts] of Object.entries(expected)) {
    const section = document.querySelector(`section#${id}`);
    if (!section || section.getBoundingClientRect().height < 40) { fault("section", id); continue; }
    for (const part of parts) if (!section.querySelector(part)) fault("section", `${id} holds no ${part}`);
  }

  // Every figure can be saved: the picture by itself, and its numbers as a table.
  const [made, press] = [[], HTMLAnchorElement.prototype.click];
  const make = URL.createObjectURL;
  URL.createObjectURL = blob => { made.push(blob); return make(blob); };
  HTMLAnchorElement.prototype.click = () => {};
  for (const svg of all("figure > svg.plot")) {
    const buttons = all(".save button", svg.closest("figure"));
    buttons.forEach(button => button.click());
    const [picture, numbers] = await Promise.all(made.splice(0).map(blob => blob.text()));
    if (buttons.length !== 2 || !picture || !numbers) { fault("figure", `${svg.ariaLabel} cannot be saved`); continue; }
    const alone = new DOMParser().parseFromString(picture, "image/svg+xml");
    if (alone.querySelector("parsererror") || !alone.querySelector("svg > style + *")) fault("figure", `${svg.ariaLabel}: no picture`);
    const cells = numbers.trim().split("\n").map(row => row.replace(/"([^"]|"")*"/g, "").split(",").length);
    if (cells.length < 2 || cells.some(count => count !== cells[0])) fault("figure", `${svg.ariaLabel}: ${numbers.slice(0, 80)}`);
  }
  [URL.createObjectURL, HTMLAnchorElement.prototype.click] = [make, press];

  const ids = all("[id]").map(e => e.id);
  ids.filter((id, i) => ids.indexOf(id) !== i).forEach(id => fault("link", `two elements are #${id}`));
  all("a[href^='#']").filter(a => !document.getElementById(a.getAttribute("href").slice(1)))
    .forEach(a => fault("link", `nothing is at ${a.getAttribute("href")}`));

  // The page stands alone: nothing is loaded from anywhere. A plain link does not load.
  for (const name of ["src", "href", "xlink:href", "srcset", "poster", "data", "action", "background"]) {
    all(`[${CSS.escape(name)}]`).filter(e => e.tagName !== "A").forEach(e => fault("request", describe(e)));
  }
  all("style").filter(e => /url\(|@import/.test(e.textContent)).forEach(e => fault("request", "a style loads something"));

  // No number that is none. Tokens may well be called so.
  const noNumber = /(^|[^\p{L}\d_])(NaN|nan|inf|Infinity|undefined|null|nil|Optional\()(?![\p{L}\d_])/u;
  const texts = [];
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const node = walker.currentNode, parent = node.parentElement;
    if (!node.data.trim() || parent.closest("script, style, title, option")) continue;
    texts.push(node);
    if (noNumber.test(node.data) && !parent.closest(".context, code")) fault("number", describe(parent));
  }
  for (const shape of all("svg *")) {
    for (const { name, value } of shape.attributes) {
      if (name !== "aria-label" && noNumber.test(value)) fault("number", `${name}="${value.slice(0, 60)}"`);
    }
  }

  // Labels of a picture neither cover each other nor leave it.
  for (const svg of all("svg")) {
    const frame = svg.getBoundingClientRect();
    const labels = all("text", svg).filter(t => t.textContent.trim()).map(t => [t, t.getBoundingClientRect()]);
    labels.forEach(([a, p], i) => {
      if (p.left < frame.left - 1 || p.right > frame.right + 1 || p.top < frame.top - 1 || p.bottom > frame.bottom + 1) {
        fault("overlap", `${describe(a)} is cut off`);
      }
      for (const [b, q] of labels.slice(i + 1)) {
        const across = Math.min(p.right, q.right) - Math.max(p.left, q.left);
        const down = Math.min(p.bottom, q.bottom) - Math.max(p.top, q.top);
        if (across > 1 && down > 2) fault("overlap", `${describe(a)} and ${describe(b)}`);
      }
    });
  }

  // Text stands out from what is behind it: WCAG 2.1, 1.4.3, level AA.
  const parse = color => {
    const parts = color.match(/[\d.]+/g).map(Number);
    return color.startsWith("color(") ? [...parts.slice(0, 3).map(v => 255 * v), parts[3] ?? 1]
      : [parts[0], parts[1], parts[2], parts[3] ?? 1];
  };
  const over = ([r, g, b, a], under) => [r, g, b].map((v, i) => a * v + (1 - a) * under[i]);
  const luminance = rgb => rgb.map(v => v / 255).map(v => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4)
    .reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
  const backgrounds = element => {
    const layers = [];
    for (let e = element; e; e = e.parentElement) layers.push(parse(getComputedStyle(e).backgroundColor));
    return layers.reverse().reduce((under, layer) => over(layer, under), [255, 255, 255]);
  };
  const seen = new Set();
  for (const { parentElement: e } of texts) {
    if (seen.has(e)) continue;
    seen.add(e);
    const style = getComputedStyle(e), svg = e.closest("svg");
    let behind = backgrounds(svg ? svg.parentElement : e);
    if (svg) {
      const r = e.getBoundingClientRect(), x = (r.left + r.right) / 2, y = (r.top + r.bottom) / 2;
      for (const rect of all("rect", svg)) {
        const box = rect.getBoundingClientRect(), fill = getComputedStyle(rect).fill;
        if (fill !== "none" && box.left <= x && x <= box.right && box.top <= y && y <= box.bottom) {
          behind = over(parse(fill), behind);
        }
      }
    }
    const [light, dark] = [luminance(over(parse(svg ? style.fill : style.color), behind)), luminance(behind)]
      .sort((a, b) => b - a);
    const ratio = (light + 0.05) / (dark + 0.05);
    if (ratio < 4.5) fault("contrast", `${ratio.toFixed(2)} of ${describe(e)}`);
  }

  // Ranks by one method lie on the diagonal; exchanging two methods exchanges the axes.
  const [x, y] = ["rank-x", "rank-y"].map(id => document.getElementById(id));
  if (x && y) {
    const [, left, top, height, breadth] = document.querySelector("#ranks .frame").getAttribute("d")
      .match(/^M([\d.]+) ([\d.]+)v([\d.]+)h([\d.]+)$/).map(Number);
    const choose = (a, b) => {
      [x.value, y.value] = [a, b];
      [x, y].forEach(select => select.dispatchEvent(new Event("change")));
      return {
        points: all("#rank-dots circle").map(dot => [
          (dot.getAttribute("cx") - left) / breadth, 1 - (dot.getAttribute("cy") - top) / height]),
        titles: ["x", "y"].map(axis => document.getElementById("rank-axis-" + axis).textContent),
      };
    };
    // Coordinates are written to a tenth of the picture's units, of which the frame has more than 200.
    const near = (a, b) => Math.abs(a - b) < 1e-3;
    const start = [x.value, y.value], last = x.options.length - 1;
    const same = choose(last, last), there = choose(0, last), back = choose(last, 0);
    if (!same.points.every(([a, b]) => near(a, b))) fault("select", "a method against itself leaves the diagonal");
    if (!there.points.every(([a, b], i) => near(a, back.points[i][1]) && near(b, back.points[i][0]))) {
      fault("select", "exchanging the methods does not exchange the axes");
    }
    if (there.points.every(([a, b]) => near(a, b))) fault("select", "choosing other methods moves nothing");
    if (there.titles[0] !== back.titles[1] || there.titles[0] === there.titles[1]) fault("select", "titles of the axes");
    choose(...start);
  }

  // Latents: they are searched, sorted and filtered as is said, and keys, links and addresses lead to them.
  const rows = document.getElementById("latent-rows");
  if (rows?.children.length) {
    const id = name => document.getElementById("latent-" + name);
    const shown = () => all("li", rows).filter(row => !row.hidden).map(row => row.firstChild);
    const set = (control, value) => { control.value = value; control.dispatchEvent(new Event("input")); };
    const choices = select => [...select.options].map(option => option.value);
    const leads = async (to, what) => {
      const heading = () => document.querySelector("#latent-detail h3")?.textContent ?? "";
      const wanted = "Latent " + to.hash.slice(8) + " ";
      for (let i = 0; i < 100 && !heading().startsWith(wanted); i++) await new Promise(done => setTimeout(done, 20));
      if (!heading().startsWith(wanted)) fault("browser", `${what} leads to "${heading()}" and not to "${wanted}"`);
      if (location.hash !== to.hash) fault("browser", `${what} leaves the address at ${location.hash}`);
      if (to.getAttribute("aria-current") !== "true") fault("browser", `${what} marks no latent of the list`);
    };
    const count = shown().length, first = [id("sort").value, shown()[0]];
    if (!id("count").textContent.startsWith(`${count} of ${count} `)) fault("browser", `"${id("count").textContent}" of ${count}`);
    for (const key of choices(id("sort"))) {
      set(id("sort"), key);
      const numbers = shown().map(link => parseFloat(link.querySelector("small").textContent.replace("−", "-")));
      const known = numbers.filter(value => !isNaN(value)), rising = known.every((value, i) => !i || known[i - 1] <= value);
      if (numbers.length !== count || !numbers.slice(0, known.length).every(value => !isNaN(value))
        || !(rising || known.every((value, i) => !i || known[i - 1] >= value))) fault("browser", `sorting by ${key}: ${numbers.slice(0, 9)}`);
    }
    set(id("sort"), choices(id("sort")).pop());
    const numbers = shown().map(link => link.id);
    id("reverse").click();
    if (shown().map(link => link.id).join() !== numbers.reverse().join()) fault("browser", "reversed is not the reverse");
    id("reverse").click();
    set(id("sort"), first[0]);
    const word = first[1].querySelector("span").textContent.split(" ")[0].replaceAll("␣", " ");
    set(id("search"), word);
    if (!shown().includes(first[1]) || shown().length === count && count > 20) fault("browser", `${shown().length} latents with "${word}"`);
    set(id("search"), first[1].hash.slice(8));
    if (!shown().includes(first[1])) fault("browser", "a latent is not found by its number");
    set(id("search"), "no token is spelled like this");
    if (shown().length) fault("browser", "what nothing has is found");
    set(id("search"), "");
    let parts = 0;
    for (const choice of ["in", "out"]) { set(id("core"), choice); parts += shown().length; }
    set(id("core"), "");
    if (parts !== count || shown().length !== count) fault("browser", `${parts} of ${count} latents are in the core or not`);
    const press = (target, key) => target.dispatchEvent(new KeyboardEvent("keydown", { key, bubbles: true, cancelable: true }));
    press(shown()[0], "ArrowDown");
    await leads(shown()[1], "the down key");
    press(shown()[1], "ArrowUp");
    await leads(shown()[0], "the up key");
    press(document.body, "/");
    // On paper there is none.
    if (id("search").offsetParent && document.activeElement !== id("search")) fault("browser", "/ does not lead to the search");
    const neighbour = document.querySelector("#latent-detail dd a[href^='#latent-']");
    if (neighbour) { neighbour.click(); await leads(document.getElementById(neighbour.hash.slice(1)), "a neighbour"); }
    const last = shown()[count - 1];
    location.hash = last.hash;
    await leads(last, "an address");
    history.replaceState(null, "", first[1].hash);
    first[1].click();
    await leads(first[1], "a click");
    scrollTo(0, 0);
  }
  return faults;
}
