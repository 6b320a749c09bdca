// Sorting, filters, columns and CSV. The pages say everything without it; the state is in the address.
"use strict";
(() => {
  const EMPTY = "\u2014";
  const FILTERED = ["verdict", "role", "metric"];
  const MOST_CHIPS = 14;
  const state = new URLSearchParams(location.search);
  const tables = [...document.querySelectorAll("main table")];
  const chosen = [...document.querySelectorAll("section.chosen > .wide > table")];

  const element = (name, properties = {}, ...children) => {
    const made = Object.assign(document.createElement(name), properties);
    made.append(...children);
    return made;
  };
  const cells = (row) => [...row.cells];
  const textOf = (cell) => (cell ? cell.textContent.trim() : "");
  const headings = (table) => cells(table.tHead.rows[0]).map((cell) => cell.dataset.heading || textOf(cell));
  const rows = (table) => [...table.tBodies[0].rows];

  // On a narrow screen the index is above the page, and opened on demand.
  const index = document.querySelector(".toc details");
  if (index && matchMedia("(max-width: 62rem)").matches) index.open = false;

  const remember = () => {
    const query = state.toString();
    try {
      history.replaceState(null, "", `${location.pathname}${query ? "?" + query : ""}${location.hash}`);
    } catch (refused) { /* Some browsers do not let a page from a local disk change its address. */ }
  };

  // --- sorting ---------------------------------------------------------------------------------------------

  const numberIn = (text) => {
    const found = /^[+\u2212-]?\d+(\.\d+)?(e[+-]?\d+)?/i.exec(text);
    return found ? Number(found[0].replace("\u2212", "-")) : NaN;
  };

  const sort = (table, column, direction) => {
    const known = rows(table);
    known.forEach((row, place) => { row.dataset.place ??= place; });
    const values = new Map(known.map((row) => [row, textOf(row.cells[column])]));
    const said = known.map((row) => values.get(row)).filter((text) => text && text !== EMPTY);
    const numeric = said.length > 0 && said.every((text) => !Number.isNaN(numberIn(text)));
    const compare = (one, other) => {
      const [a, b] = [values.get(one), values.get(other)];
      const missing = [a, b].map((text) => !text || text === EMPTY);
      if (missing[0] !== missing[1]) return missing[0] ? 1 : -1;
      const order = numeric ? numberIn(a) - numberIn(b) : a.localeCompare(b, "en", { numeric: true });
      return direction * order || one.dataset.place - other.dataset.place;
    };
    const sorted = direction ? known.sort(compare) : known.sort((a, b) => a.dataset.place - b.dataset.place);
    table.tBodies[0].append(...sorted);
    cells(table.tHead.rows[0]).forEach((heading, place) => {
      if (place === column && direction) {
        heading.setAttribute("aria-sort", direction > 0 ? "ascending" : "descending");
      } else {
        heading.removeAttribute("aria-sort");
      }
    });
  };

  const sortable = (table, number) => {
    if (rows(table).length < 2 || table.tHead.rows[0].cells.length < 3) return;
    cells(table.tHead.rows[0]).forEach((heading, column) => {
      heading.dataset.heading = textOf(heading);
      const button = element("button", { type: "button", textContent: textOf(heading) });
      button.addEventListener("click", () => {
        const now = heading.getAttribute("aria-sort");
        const direction = now === "ascending" ? -1 : now === "descending" ? 0 : 1;
        sort(table, column, direction);
        const kept = state.getAll("sort").filter((entry) => !entry.startsWith(`${number}.`));
        state.delete("sort");
        kept.forEach((entry) => state.append("sort", entry));
        if (direction) state.append("sort", `${number}.${column}.${direction > 0 ? "up" : "down"}`);
        remember();
      });
      heading.replaceChildren(button);
    });
  };

  tables.forEach(sortable);
  state.getAll("sort").forEach((entry) => {
    const [number, column, direction] = entry.split(".");
    const table = tables[Number(number)];
    if (table && table.tHead.rows[0].cells[Number(column)]) {
      sort(table, Number(column), direction === "down" ? -1 : 1);
    }
  });

  // --- filters and columns ---------------------------------------------------------------------------------

  if (!chosen.length) return;
  const all = [...new Set(chosen.flatMap(headings))];
  const counter = element("output", { className: "count" });
  counter.setAttribute("aria-live", "polite");

  const shows = (table, row) => {
    const names = headings(table);
    const wanted = (state.get("q") || "").toLowerCase().split(/\s+/).filter(Boolean);
    const text = row.textContent.toLowerCase();
    return wanted.every((word) => text.includes(word)) && FILTERED.every((name) => {
      const values = state.getAll(name);
      return !values.length || values.includes(textOf(row.cells[names.indexOf(name)]));
    });
  };

  const apply = () => {
    const hidden = new Set(state.getAll("hide"));
    let [shown, total] = [0, 0];
    chosen.forEach((table) => {
      const names = headings(table);
      let here = 0;
      rows(table).forEach((row) => {
        row.hidden = !shows(table, row);
        here += row.hidden ? 0 : 1;
        total += 1;
      });
      shown += here;
      [table.tHead.rows[0], ...rows(table)].forEach((row) => cells(row).forEach((cell, column) => {
        cell.hidden = hidden.has(names[column]);
      }));
      table.closest("section").classList.toggle("empty", here === 0);
    });
    counter.textContent = `${shown} of ${total} rows shown`;
    remember();
  };

  const toggle = (name, value, on) => {
    const kept = state.getAll(name).filter((other) => other !== value);
    state.delete(name);
    [...kept, ...(on ? [value] : [])].forEach((entry) => state.append(name, entry));
    apply();
  };

  const chips = (name) => {
    const found = chosen.flatMap((table) => {
      const column = headings(table).indexOf(name);
      return column < 0 ? [] : rows(table).map((row) => textOf(row.cells[column]));
    });
    const values = [...new Set(found)].sort();
    if (values.length < 2 || values.length > MOST_CHIPS) return null;
    const buttons = values.map((value) => {
      const count = found.filter((other) => other === value).length;
      const button = element("button", { type: "button", textContent: `${value} ${count}` });
      button.dataset.name = name;
      button.dataset.value = value;
      button.setAttribute("aria-pressed", String(state.getAll(name).includes(value)));
      button.addEventListener("click", () => {
        const on = button.getAttribute("aria-pressed") !== "true";
        button.setAttribute("aria-pressed", String(on));
        toggle(name, value, on);
      });
      return button;
    });
    const group = element("div", { className: "row" }, element("span", { className: "name", textContent: name }), ...buttons);
    group.setAttribute("role", "group");
    group.setAttribute("aria-label", `Filter by ${name}`);
    return group;
  };

  const search = element("input", { type: "search", placeholder: "words in a row", value: state.get("q") || "" });
  search.setAttribute("aria-label", "Show only rows with these words");
  search.addEventListener("input", () => {
    if (search.value) state.set("q", search.value); else state.delete("q");
    apply();
  });

  const columns = element("details", {}, element("summary", { textContent: "Columns" }), element("div", { className: "row" },
    ...all.map((name) => {
      const box = element("input", { type: "checkbox", checked: !state.getAll("hide").includes(name) });
      box.dataset.column = name;
      box.addEventListener("change", () => toggle("hide", name, !box.checked));
      return element("label", {}, box, ` ${name}`);
    })));

  // --- CSV of what is shown --------------------------------------------------------------------------------

  const quoted = (text) => {
    // A spreadsheet interprets a text that begins like a formula as one, unless it is a number.
    const formula = /^([\s\0]*[=+\-@\uff1d\uff0b\uff0d\uff20]|[\t\r\n])/.test(text);
    const harmless = formula && !/^[+-]?\d+(\.\d+)?(e[+-]?\d+)?$/i.test(text) ? `'${text}` : text;
    return /[",\n\r]/.test(harmless) ? `"${harmless.replaceAll('"', '""')}"` : harmless;
  };

  const toCsv = () => {
    const kept = all.filter((name) => !state.getAll("hide").includes(name));
    const lines = [["table", ...kept]];
    chosen.forEach((table) => {
      const names = headings(table);
      const title = textOf(table.closest("section").querySelector("h2"));
      rows(table).filter((row) => !row.hidden).forEach((row) => {
        lines.push([title, ...kept.map((name) => textOf(row.cells[names.indexOf(name)]))]);
      });
    });
    return lines.map((line) => line.map(quoted).join(",") + "\r\n").join("");
  };

  const csv = element("button", { type: "button", textContent: "CSV of what is shown" });
  csv.addEventListener("click", () => {
    const address = URL.createObjectURL(new Blob([toCsv()], { type: "text/csv;charset=utf-8" }));
    const name = location.pathname.split("/").pop().replace(/\.html$/, "") || "table";
    const link = element("a", { href: address, download: `${name}.csv` });
    link.click();
    setTimeout(() => URL.revokeObjectURL(address), 1000);
  });

  const reset = element("button", { type: "button", textContent: "Show all" });
  reset.addEventListener("click", () => {
    [...FILTERED, "q", "hide"].forEach((name) => state.delete(name));
    search.value = "";
    tools.querySelectorAll("[aria-pressed]").forEach((button) => button.setAttribute("aria-pressed", "false"));
    tools.querySelectorAll("[data-column]").forEach((box) => { box.checked = true; });
    apply();
  });

  const tools = element("div", { className: "tools" },
    element("div", { className: "row" }, search, counter, csv, reset),
    ...FILTERED.map(chips).filter(Boolean), columns);
  tools.setAttribute("role", "region");
  tools.setAttribute("aria-label", "Filters and columns");
  chosen[0].closest("section").before(tools);
  apply();
})();
