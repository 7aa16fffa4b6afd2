// The image wall: sorted and filtered by what is known of each tile; two to four pinned, side by side, in turns
// (flicker), or as their difference. A picture's bytes are in the page once: every other view of it names the same URI.
const MOST = 4;

function makeWall(wall) {
  const form = wall.querySelector(".controls"), pins = wall.querySelector(".pins"), tray = wall.querySelector(".tray");
  const holder = wall.querySelector(".tiles"), tiles = [...wall.querySelectorAll(".tile.trial")];
  const [sort, direction, marked] = ["sort", "direction", "marked"].map((name) => form.elements.namedItem(name));
  const ranges = [...form.querySelectorAll("fieldset")];
  const title = (tile) => tile.querySelector("figcaption strong").textContent;
  const known = (tile, name) => [...tile.querySelectorAll(".values > div")].find((row) => row.dataset.name === name);
  const valueOf = (tile, name) => {
    const data = known(tile, name)?.querySelector("data");
    return data ? Number(data.value) : NaN;
  };

  // ---- sort and filter

  function arrange() {
    const name = sort.value, sign = direction.ariaPressed === "true" ? -1 : 1;
    const byTitle = (a, b) => title(a).localeCompare(title(b), undefined, { numeric: true });
    const sorted = [...tiles].sort((a, b) => {
      if (!name) return sign * byTitle(a, b);
      const [one, other] = [valueOf(a, name), valueOf(b, name)];
      return isNaN(one) - isNaN(other) || sign * (one - other) || byTitle(a, b);
    });
    const limits = ranges.map((range) => [range.dataset.name, ...[...range.querySelectorAll("input")].map((i) => i.valueAsNumber)]);
    let count = 0;
    for (const tile of sorted) {
      const inside = limits.every(([limited, least, greatest]) => {
        if (isNaN(least) && isNaN(greatest)) return true;
        // As exact and as shown: a limit copied from a tile keeps that tile.
        const both = [valueOf(tile, limited), parseFloat(known(tile, limited)?.querySelector("dd").textContent)];
        return !isNaN(both[0]) && !(Math.max(...both) < least) && !(Math.min(...both) > greatest);
      });
      tile.hidden = !inside || (marked?.checked && !("marked" in tile.dataset));
      count += !tile.hidden;
      const row = name && known(tile, name);
      tile.querySelector(".sorted").textContent = row ? `${name.replaceAll("_", " ")} ${row.querySelector("dd").textContent}` : "";
    }
    if (sorted.some((tile, i) => holder.children[holder.children.length - tiles.length + i] !== tile)) holder.append(...sorted);
    form.querySelector("output").textContent = `${count} of ${tiles.length} shown`;
    direction.textContent = sign > 0 ? "ascending" : "descending";
  }

  function clear() {
    for (const range of ranges) for (const input of range.querySelectorAll("input")) input.value = "";
    if (marked) marked.checked = false;
    arrange();
  }

  // What the values run over stands in the empty fields of the filter.
  for (const range of ranges) {
    const rows = tiles.map((tile) => known(tile, range.dataset.name)?.querySelector("dd")).filter((cell) => cell?.querySelector("data"));
    rows.sort((a, b) => a.querySelector("data").value - b.querySelector("data").value);
    const [least, greatest] = range.querySelectorAll("input");
    least.placeholder = rows[0].textContent;
    greatest.placeholder = rows.at(-1).textContent;
  }

  form.addEventListener("submit", (event) => event.preventDefault());
  form.addEventListener("input", arrange);
  direction.addEventListener("click", () => {
    direction.ariaPressed = String(direction.ariaPressed !== "true");
    arrange();
  });
  form.elements.namedItem("clear")?.addEventListener("click", clear);

  // A link to a tile shows it, whatever was filtered.
  const reveal = () => {
    const tile = tiles.find((one) => location.hash && one.id === decodeURIComponent(location.hash.slice(1)));
    if (tile?.hidden) clear();
    tile?.scrollIntoView({ block: "nearest" });
  };
  addEventListener("hashchange", reveal);

  // ---- pins

  const bench = pins.querySelector(".bench"), hint = pins.querySelector(".hint");
  const flickering = pins.querySelector(".flickering"), modes = [...pins.querySelectorAll(".modes button")];
  const play = pins.querySelector("[name=play]"), speed = pins.querySelector("[name=speed]");
  let pinned = [], mode = "side", timer = 0, turn = 0;
  let playing = !matchMedia("(prefers-reduced-motion: reduce)").matches;

  function view(tile) {
    const figure = document.createElement("figure"), image = document.createElement("img");
    const caption = document.createElement("figcaption");
    image.src = tile.querySelector("img").src;
    image.alt = tile.querySelector("img").alt;
    const values = [...tile.querySelectorAll(".values > div")].map((row) => `${row.dataset.name} ${row.querySelector("dd").textContent}`);
    const name = document.createElement("strong");
    name.textContent = title(tile);
    caption.append(name, values.length ? ` · ${values.join(" · ")}` : "");
    figure.append(image, caption);
    return figure;
  }

  function tick() {
    const turns = [...bench.children];
    turn = (turn + 1) % turns.length;
    turns.forEach((figure, i) => figure.classList.toggle("now", i === turn));
  }

  function pace() {
    clearInterval(timer);
    timer = playing && mode === "flicker" && pinned.length > 1 ? setInterval(tick, 1000 / speed.value) : 0;
    play.textContent = playing ? "pause" : "play";
    flickering.querySelector("output").textContent = `${speed.value} per second`;
  }

  function grey(tile) {
    const image = tile.querySelector("img"), canvas = document.createElement("canvas");
    canvas.width = image.naturalWidth;
    canvas.height = image.naturalHeight;
    const context = canvas.getContext("2d", { willReadFrequently: true });
    context.drawImage(image, 0, 0);
    return context.getImageData(0, 0, canvas.width, canvas.height);
  }

  async function difference(one, other) {
    await Promise.all([one, other].map((tile) => tile.querySelector("img").decode()));
    const a = grey(one), b = grey(other);
    const figure = document.createElement("figure"), caption = document.createElement("figcaption");
    if (a.width !== b.width || a.height !== b.height) {
      caption.textContent = `${title(one)} and ${title(other)} are of different sizes`;
    } else {
      const canvas = document.createElement("canvas");
      canvas.width = a.width;
      canvas.height = a.height;
      let sum = 0;
      for (let i = 0; i < a.data.length; i += 4) {
        const apart = Math.abs(a.data[i] - b.data[i]);
        sum += apart;
        a.data[i] = a.data[i + 1] = a.data[i + 2] = apart;
      }
      canvas.getContext("2d").putImageData(a, 0, 0);
      canvas.setAttribute("role", "img");
      const share = (100 * sum) / (255 * (a.data.length / 4));
      const between = `${title(one)} against ${title(other)}`;
      caption.textContent = `${between}: absolute difference of every pixel, black where equal; on average ${share.toFixed(1)} % of the full range`;
      canvas.setAttribute("aria-label", `Difference of ${between}`);
      figure.append(canvas);
    }
    figure.append(caption);
    return figure;
  }

  async function lay() {
    bench.className = `bench ${mode}`;
    turn = 0;
    if (mode === "difference" && pinned.length > 1) {
      const pairs = pinned.slice(1).map((tile) => difference(pinned[0], tile));
      bench.replaceChildren(...(await Promise.all(pairs)));
    } else {
      bench.replaceChildren(...pinned.map(view));
      bench.children[0]?.classList.add("now");
    }
    pace();
  }

  function update() {
    for (const pin of wall.querySelectorAll(".pin")) {
      const on = pinned.includes(pin.closest(".tile"));
      pin.ariaPressed = String(on);
      pin.textContent = on ? "unpin" : "pin";
      pin.closest(".tile").classList.toggle("pinned", on);
    }
    const enough = pinned.length > 1;
    if (!enough) mode = "side";
    for (const button of modes) {
      button.ariaPressed = String(button.value === mode);
      button.hidden = !enough;
    }
    flickering.hidden = mode !== "flicker";
    pins.querySelector("[name=unpin]").hidden = !pinned.length;
    const names = pinned.map(title).join(", ");
    hint.textContent = !pinned.length ? "Pin two to four images to compare them: side by side, by flicker, by difference."
      : enough ? `Pinned: ${names}.` : `Pinned: ${names}. One more, and they can be compared.`;
    tray.hidden = !pinned.length;
    tray.querySelector("a").textContent = `${pinned.length} pinned: compare`;
    lay();
  }

  function toggle(tile) {
    if (pinned.includes(tile)) pinned = pinned.filter((other) => other !== tile);
    else if (pinned.length < MOST) pinned = [...pinned, tile];
    update();
    if (pinned.length === MOST && !pinned.includes(tile)) hint.textContent = "Four images are pinned; unpin one first.";
  }

  for (const pin of wall.querySelectorAll(".pin")) {
    pin.hidden = false;
    pin.addEventListener("click", () => toggle(pin.closest(".tile")));
  }
  for (const button of modes) {
    button.addEventListener("click", () => {
      mode = button.value;
      update();
    });
  }
  play.addEventListener("click", () => {
    playing = !playing;
    pace();
  });
  speed.addEventListener("input", pace);
  pins.querySelector("[name=unpin]").addEventListener("click", () => {
    pinned = [];
    update();
  });
  tray.querySelector("a").addEventListener("click", (event) => {
    event.preventDefault();
    pins.scrollIntoView({ block: "nearest" });
    pins.focus({ preventScroll: true });
  });
  new IntersectionObserver(([entry]) => tray.classList.toggle("away", entry.isIntersecting)).observe(pins);

  form.hidden = tiles.length <= MOST;
  pins.hidden = false;
  pinned = wall.dataset.pinned.split(" ").map((id) => id && document.getElementById(id)).filter(Boolean).slice(0, MOST);
  arrange();
  update();
  reveal();
}

document.querySelectorAll(".wall").forEach(makeWall);
