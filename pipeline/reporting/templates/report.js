"use strict";
// Comforts only: everything in the report can be read without this script.
document.documentElement.classList.add("js");

// A click on a column's heading sorts its table by that column; blanks stay at the end.
const blank = new Set(["", "-", "–", "—", "nan", "n/a", "none"]);
const text = (row, column) => row.cells[column].textContent.trim();
const number = (s) => parseFloat(s.replace(/−/g, "-").replace(/[,<>≈~±\s]/g, ""));

function sortBy(table, column, ascending) {
  const body = table.tBodies[0];
  const numeric = table.tHead.rows[0].cells[column].classList.contains("right");
  const compare = numeric ? (a, b) => number(a) - number(b) : (a, b) => a.localeCompare(b, undefined, { numeric: true });
  const rows = [...body.rows].sort((one, other) => {
    const a = text(one, column), b = text(other, column);
    const blanks = blank.has(a.toLowerCase()) - blank.has(b.toLowerCase());
    return blanks || (ascending ? compare(a, b) : compare(b, a));
  });
  body.append(...rows);
}

for (const table of document.querySelectorAll("table")) {
  if (table.tBodies[0].rows.length < 2) continue;
  const headings = [...table.tHead.rows[0].cells];
  headings.forEach((heading, column) => {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...heading.childNodes);
    heading.append(button);
    button.addEventListener("click", () => {
      const ascending = heading.getAttribute("aria-sort") !== "ascending";
      headings.forEach((other) => other.removeAttribute("aria-sort"));
      heading.setAttribute("aria-sort", ascending ? "ascending" : "descending");
      sortBy(table, column, ascending);
    });
  });
}

// A click on a picture, or Enter, shows it large, with what is known of it; arrow keys go on to its neighbours - on a wall
// to the next one shown - and Escape closes.
const pictures = [...document.querySelectorAll("figure img")];
const dialog = document.createElement("dialog");
const stage = document.createElement("div");
const large = document.createElement("img");
const words = document.createElement("div");
let shown = null;

const neighbours = (picture) => {
  const wall = picture.closest(".tiles");
  const group = wall ? [...wall.querySelectorAll("img")] : pictures.filter((other) => !other.closest(".tiles"));
  return group.filter((other) => other === picture || other.offsetParent !== null);
};

function show(picture) {
  shown = picture;
  const figure = picture.closest("figure");
  large.src = picture.src;
  large.alt = picture.alt;
  const known = [...figure.querySelectorAll("figcaption, dl")].map((element) => element.cloneNode(true));
  words.replaceChildren(...known);
  stage.replaceChildren(large);
  if (!dialog.open) dialog.showModal();
  // As large as fits, but a plot never so small that it cannot be read: then it scrolls.
  const width = picture.naturalWidth, height = picture.naturalHeight;
  const fit = Math.min(stage.clientWidth / width, stage.clientHeight / height);
  const tile = figure.classList.contains("tile");
  large.style.width = `${width * (tile ? fit : Math.max(fit, Math.min(0.6, 1 / devicePixelRatio)))}px`;
  large.style.imageRendering = tile ? "pixelated" : "auto";
}

function step(by) {
  const group = neighbours(shown);
  show(group[(group.indexOf(shown) + by + group.length) % group.length]);
}

function button(label, name, action) {
  const made = document.createElement("button");
  made.type = "button";
  made.textContent = label;
  made.setAttribute("aria-label", name);
  made.addEventListener("click", action);
  return made;
}

if (pictures.length) {
  const bar = document.createElement("div");
  bar.className = "bar";
  bar.append(
    button("←", "previous picture", () => step(-1)),
    button("→", "next picture", () => step(1)),
    button("Close", "close", () => dialog.close()),
  );
  stage.className = "stage";
  words.className = "words";
  dialog.setAttribute("aria-label", "Picture");
  dialog.append(bar, stage, words);
  stage.addEventListener("click", () => dialog.close());
  dialog.addEventListener("keydown", (event) => {
    if (event.key === "ArrowLeft") step(-1);
    if (event.key === "ArrowRight") step(1);
  });
  dialog.addEventListener("close", () => shown.focus());
  document.body.append(dialog);
}
for (const picture of pictures) {
  picture.classList.add("zoomable");
  picture.tabIndex = 0;
  picture.setAttribute("role", "button");
  picture.setAttribute("aria-label", `${picture.alt} (enlarge)`);
  picture.addEventListener("click", () => show(picture));
  picture.addEventListener("keydown", (event) => {
    if (event.key === "Enter" || event.key === " ") {
      event.preventDefault();
      show(picture);
    }
  });
}
