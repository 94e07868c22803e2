// Tables that are sorted by a click on a head and filtered by words. Without this script they read as they are.
"use strict";

const MOST = 200; // lines that are laid out at first: a browser is slow with tens of thousands

const NUMBER = /^[-+−]?\d*\.?\d+(?:e[-+]?\d+)?/i;

function text(row, column) {
  const cell = row.cells[column];
  return (cell.querySelector(".value") ?? cell).textContent.trim();
}

// A cell's number, or null where it has none: "61.49 ± 0.32 (3)" is 61.49.
function number(words) {
  const found = words.replaceAll(",", "").match(NUMBER);
  return found ? Number(found[0].replace("−", "-")) : null;
}

function sorted(rows, column, numeric, direction) {
  const order = new Intl.Collator("en", { numeric: true }).compare;
  const keyed = rows.map((row) => {
    const words = text(row, column);
    return { row, key: numeric ? number(words) : words === "–" || words === "" ? null : words };
  });
  keyed.sort((a, b) => {
    if (a.key === null || b.key === null) return (a.key === null) - (b.key === null); // what is missing comes last
    return direction * (numeric ? a.key - b.key : order(a.key, b.key));
  });
  return keyed.map((one) => one.row);
}

function enliven(table) {
  const body = table.tBodies[0];
  const all = [...body.rows];
  const heads = [...table.tHead.rows[0].cells];
  let rows = all;
  let words = [];
  let most = MOST;
  let index = null; // row -> its words, made when they are first asked for

  const more = document.createElement("button");
  more.type = "button";
  more.className = "more";
  more.hidden = true;
  (table.closest(".scroll") ?? table).after(more);
  more.addEventListener("click", () => {
    most *= 10;
    lay();
  });

  function lay(everything = false) {
    index ??= words.length ? new Map(all.map((row) => [row, row.textContent.toLowerCase()])) : null;
    const kept = words.length ? rows.filter((row) => words.every((word) => index.get(row).includes(word))) : rows;
    const shown = everything ? kept : kept.slice(0, most);
    body.replaceChildren(...shown);
    more.hidden = shown.length === kept.length;
    more.textContent = `Show more: ${(kept.length - shown.length).toLocaleString("en")} lines are not shown`;
    return kept.length;
  }

  heads.forEach((head, column) => {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...head.childNodes);
    head.append(button);
    button.addEventListener("click", () => {
      const next = { ascending: "descending", descending: null }[head.getAttribute("aria-sort")];
      for (const other of heads) other.removeAttribute("aria-sort");
      if (next === null) {
        rows = all;
      } else {
        head.setAttribute("aria-sort", next ?? "ascending");
        rows = sorted(all, column, head.classList.contains("n"), next === "descending" ? -1 : 1);
      }
      lay();
    });
  });

  const filter = document.querySelector(`[data-filter="${table.id}"]`);
  if (filter) {
    const input = filter.querySelector("input");
    const output = filter.querySelector("output");
    filter.hidden = false;
    const apply = () => {
      words = input.value.toLowerCase().split(/\s+/).filter(Boolean);
      const count = lay();
      output.value = words.length ? `${count.toLocaleString("en")} of ${all.length.toLocaleString("en")}` : "";
    };
    input.addEventListener("input", apply);
    if (input.value) apply(); // a browser keeps it on the way back
  }
  if (all.length > MOST) lay();
  window.addEventListener("beforeprint", () => lay(true));
  window.addEventListener("afterprint", () => lay());
}

document.querySelectorAll("table.sortable").forEach(enliven);
window.addEventListener("beforeprint", () => document.querySelectorAll("details").forEach((one) => (one.open = true)));
