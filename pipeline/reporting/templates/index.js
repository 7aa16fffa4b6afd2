"use strict";
{
  const form = document.querySelector(".find"), list = document.querySelector(".entries");
  const entries = [...list.querySelectorAll("li[data-kind]")];
  const { words, kind, by } = form.elements;
  const text = new Map(entries.map((entry) => [entry, entry.textContent.toLowerCase()]));
  const newest = (a, b) => b.dataset.date.localeCompare(a.dataset.date);
  const orders = {
    date: newest,
    oldest: (a, b) => newest(b, a),
    name: (a, b) => a.dataset.name.localeCompare(b.dataset.name, undefined, { numeric: true }) || newest(a, b),
    dataset: (a, b) => a.dataset.dataset.localeCompare(b.dataset.dataset) || newest(a, b),
    kind: (a, b) => a.dataset.kind.localeCompare(b.dataset.kind) || newest(a, b),
  };
  const arrange = () => {
    const wanted = words.value.toLowerCase().split(/\s+/).filter(Boolean);
    let shown = 0;
    for (const entry of entries) {
      const fits = (!kind.value || entry.dataset.kind === kind.value) && wanted.every((w) => text.get(entry).includes(w));
      entry.hidden = !fits;
      shown += fits;
    }
    list.append(...[...entries].sort(orders[by.value]));
    form.querySelector("output").textContent = `${shown} of ${entries.length}`;
  };
  form.addEventListener("input", arrange);
  form.addEventListener("submit", (event) => event.preventDefault());
  form.hidden = entries.length < 2;
  arrange();
}
