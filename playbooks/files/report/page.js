// SPDX-License-Identifier: GPL-3.0-or-later
// Copyright: headroom.netfilter maintainers
//
// What hosts say is only ever made into text (textContent), never into markup.
"use strict";
(() => {
  const PART = 50; // rows of the table at a time
  const MOST_PRINTED = 1000; // rows on paper
  const MOST_TOLD = 25; // hosts that are told of on paper where no more are left in the table
  const byId = (id) => document.getElementById(id);
  const read = (id) => JSON.parse(byId(id).textContent);

  const element = (name, attributes, ...inner) => {
    const made = document.createElement(name);
    for (const [key, value] of Object.entries(attributes || {})) made.setAttribute(key, value);
    for (const one of inner) if (one !== null && one !== undefined) made.append(one);
    return made;
  };

  const data = read("data-rows");
  const rank = Object.fromEntries([...data.severities, "not read", "none"].map((name, place) => [name, place]));
  const hosts = data.hosts.map((row, place) => {
    const [name, usage, count, max, reload, boot, drops, state, worst, finding, loses, owner] = row;
    const host = { place, name, usage, count, max, reload, boot, drops };
    host.state = data.pool[state];
    host.worst = data.pool[worst];
    host.finding = data.pool[finding];
    host.loses = data.pool[loses];
    host.owner = data.pool[owner];
    host.words = [name, host.state, host.worst, ...host.finding, ...host.owner].join("\n").toLowerCase();
    return host;
  });

  const number = (value) => (value === null ? "-" : String(value));
  const percent = (value) => (value === null ? "-" : (100 * value).toFixed(1) + " %");
  const COLUMNS = [
    { key: "name", title: "host", text: (host) => host.name },
    { key: "state", title: "state", text: (host) => host.state },
    { key: "worst", title: "worst", text: (host) => host.worst, by: (host) => rank[host.worst] },
    { key: "usage", title: "in use", text: (host) => percent(host.usage), number: true },
    { key: "count", title: "entries", text: (host) => number(host.count), number: true },
    { key: "max", title: "limit", text: (host) => number(host.max), number: true },
    { key: "reload", title: "after reload", text: (host) => number(host.reload), number: true },
    { key: "boot", title: "after boot", text: (host) => number(host.boot), number: true },
    { key: "drops", title: "dropped", text: (host) => number(host.drops), number: true },
    { key: "finding", title: "findings", text: (host) => host.finding.join(", "), by: (host) => host.finding.length },
  ];
  const CHOICES = ["worst", "state", "finding", "loses", "owner"];

  let shown = hosts;
  let part = 0;
  let order = { key: null, down: false };
  let only = null; // the name of one host that was chosen above

  const fill = () => {
    for (const key of CHOICES) {
      const values = new Set(hosts.flatMap((host) => host[key]));
      for (const value of [...values].sort()) byId(key).append(element("option", { value }, value));
    }
    COLUMNS.forEach((column) => {
      const button = element("button", { type: "button" }, column.title);
      button.addEventListener("click", () => {
        order = { key: column.key, down: order.key === column.key ? !order.down : Boolean(column.number) };
        narrow();
      });
      byId("heads").append(element("th", { scope: "col", "data-key": column.key }, button));
    });
  };

  const narrow = () => {
    const words = byId("search").value.toLowerCase().split(/\s+/).filter(Boolean);
    const wanted = CHOICES.map((key) => [key, byId(key).value]).filter(([, value]) => value);
    const fits = (host) =>
      (only === null || host.name === only) &&
      words.every((word) => host.words.includes(word)) &&
      wanted.every(([key, value]) => host[key] === value || (Array.isArray(host[key]) && host[key].includes(value)));
    shown = hosts.filter(fits);
    const column = COLUMNS.find((one) => one.key === order.key);
    if (column) {
      const by = column.by || ((host) => host[column.key]);
      const sign = order.down ? -1 : 1;
      shown.sort((one, other) => {
        const [a, b] = [by(one), by(other)];
        // What is not known comes last, whichever way.
        if (a === null || b === null) return (a === null) - (b === null) || one.place - other.place;
        return (a < b ? -sign : a > b ? sign : 0) || one.place - other.place;
      });
    }
    part = 0;
    show();
  };

  const cell = (column, host) => {
    if (column.key === "name") {
      return element("th", { scope: "row" }, element("a", { href: "#host-" + host.place }, host.name));
    }
    const kind = column.key === "worst" ? { class: host.worst } : column.number ? { class: "number" } : {};
    return element("td", kind, column.text(host));
  };

  const rows = (from, to) => shown.slice(from, to).map((host) => element("tr", {}, ...COLUMNS.map((column) => cell(column, host))));

  const show = () => {
    const from = part * PART;
    byId("rows").replaceChildren(...rows(from, from + PART));
    const parts = Math.max(Math.ceil(shown.length / PART), 1);
    byId("status").textContent = shown.length + " of " + hosts.length + " hosts";
    byId("place").textContent = "part " + (part + 1) + " of " + parts;
    byId("previous").disabled = part === 0;
    byId("next").disabled = part + 1 >= parts;
    for (const head of byId("heads").children) {
      if (head.dataset.key === order.key) head.setAttribute("aria-sort", order.down ? "descending" : "ascending");
      else head.removeAttribute("aria-sort");
    }
  };

  // What is told of a host, unpacked when the first is opened.
  let packed = null;
  const told = (place) => {
    packed = packed || read("data-told");
    const unpacked = (item) =>
      item !== null && typeof item === "object" && "remedy" in item ? { ...item, remedy: packed.pool[item.remedy] } : item;
    const value = (at) => {
      const found = packed.pool[at];
      return found !== null && typeof found === "object" && "list" in found
        ? found.list.map((item) => unpacked(packed.pool[item]))
        : found;
    };
    const places = packed.pool[packed.hosts[place]];
    return Object.fromEntries(packed.names.map((name, at) => [name, value(places[at])]));
  };

  const terms = (pairs) =>
    element("dl", {}, ...pairs.flatMap(([term, text]) => [element("dt", {}, term), element("dd", {}, text)]));

  const grid = (label, heads, lines) =>
    element("div", { class: "part", role: "region", tabindex: "0", "aria-label": label },
      element("table", {},
        element("thead", {}, element("tr", {}, ...heads.map((head) => element("th", { scope: "col" }, head)))),
        element("tbody", {}, ...lines.map((line) => element("tr", {}, ...line.map((text) => element("td", {}, text)))))));

  const list = (lines) => element("ul", {}, ...lines.map((line) => element("li", {}, line)));

  const difference = (text, label) =>
    element("pre", { tabindex: "0", role: "region", "aria-label": label }, ...text.split("\n").flatMap((line) => {
      const kind = { "+": "added", "-": "removed", "@": "faint" }[line[0]];
      return [kind ? element("span", { class: kind }, line) : line, "\n"];
    }));

  const place = (owner) => (owner.path === null ? owner.evidence : owner.path + (owner.line === null ? "" : ":" + owner.line));

  const found = (finding) =>
    element("li", {},
      element("span", { class: finding.accepted ? "faint" : finding.severity }, finding.severity), " ",
      element("strong", {}, finding.id), ": ", finding.seen,
      element("div", { class: "faint" }, packed.why[finding.id] || ""),
      finding.accepted
        ? element("div", {}, "accepted until " + finding.accepted.until + ": " + finding.accepted.reason)
        : element("div", {}, "→ " + finding.remedy));

  // By host, the parts that there is something to say of; each a title and elements.
  const parts = (host, name) => {
    const said = [];
    const add = (title, ...inner) => said.push([title, inner]);
    if (host.said) add(host.state, element("p", {}, host.said));
    if (host.system) {
      const { release, conntrack, container, root, memory_bytes: memory, cpus } = host.system;
      add("System", terms([
        ["kernel", release], ["connection tracking", conntrack], ["container", container || "no"],
        ["read as", root ? "root" : "an ordinary user"],
        ["memory", memory === null ? "-" : (memory / 2 ** 30).toFixed(1) + " GiB"], ["processors", number(cpus)],
      ]));
    }
    if (host.table) {
      const table = host.table;
      add("Limit and use", terms([
        ["limit", number(table.max)], ["in use", number(table.count) + " entries, " + percent(table.usage)],
        ["buckets", number(table.buckets)], ["entries in a chain", table.chain === null ? "-" : String(table.chain)],
        ["expectations", number(table.expect_max)],
        ["memory at full", table.full_bytes === null ? "-" : (table.full_bytes / 2 ** 20).toFixed(1) + " MiB"],
      ]));
    }
    if (host.drops) {
      const drops = host.drops;
      add("Dropped since boot", terms([
        ["packets", number(drops.packets)], ["flows given up early", number(drops.early)],
        ["messages in the log", number(drops.logged) + (drops.last ? ", last " + drops.last : "")],
      ]));
    }
    if (host.findings.length) add("Findings", element("ul", {}, ...host.findings.map(found)));
    for (const event of ["reload", "boot"]) {
      if (host[event].length) {
        const lines = host[event].map((one) => [one.key, one.value === null ? one.kind : String(one.value), one.source]);
        add("What a " + event + " will leave", grid("What a " + event + " will leave on " + name, ["key", "value", "from"], lines));
      }
    }
    if (host.owners.length) {
      const keys = (owner) => Object.entries(owner.keys).map(([key, value]) => key + (value === null ? "" : " = " + value));
      const lines = host.owners.map((owner) => [owner.name, place(owner), keys(owner).join(", "), owner.remedy]);
      add("Who else writes the keys", grid("Who else writes the keys on " + name, ["who", "where", "what", "what to do"], lines));
    }
    if (host.namespaces.length) {
      const lines = host.namespaces.map((one) => [one.name, number(one.count), number(one.max), percent(one.usage), number(one.drop), number(one.early_drop)]);
      add("Network namespaces (" + number(host.namespaces_total) + " in all)",
        grid("Network namespaces of " + name, ["name", "entries", "limit", "in use", "dropped", "early drops"], lines));
    }
    if (host.claims.length) add("Claims passed over", list(host.claims.map((one) => one.what + ", of " + one.whose + ": " + one.why)));
    if (host.missing.length) add("Not known", list(host.missing));
    if (host.history.length) add("Changes", list(host.history));
    if (host.plan) {
      const plan = host.plan;
      const inner = [...plan.refusals.map((one) => "REFUSED: " + one), ...plan.warnings.map((one) => "warning: " + one)];
      if (plan.converged) inner.push("nothing to change");
      add("What tune would change", inner.length ? list(inner) : null, plan.diff ? difference(plan.diff, "What tune would change on " + name) : null);
    }
    return said;
  };

  const tell = (into, host, id) => {
    into.replaceChildren(element("h2", { id, tabindex: "-1" }, host.name));
    into.classList.add("told");
    for (const [title, inner] of parts(told(host.place), host.name)) into.append(element("h3", {}, title), ...inner.filter(Boolean));
    return into;
  };

  const close = () => {
    byId("opened").hidden = true;
    byId("opened").replaceChildren();
  };

  const open = () => {
    const at = /^#host-([0-9]+)$/.exec(location.hash);
    const host = at && hosts[Number(at[1])];
    if (!host) return close();
    const section = tell(byId("opened"), host, "opened-name");
    const back = element("p", { class: "back" }, element("a", { href: "#hosts" }, "Back to the table"));
    section.append(back);
    section.hidden = false;
    section.scrollIntoView();
    byId("opened-name").focus({ preventScroll: true });
    return undefined;
  };

  const choose = (key, value) => {
    only = key === "host" ? value : null;
    for (const one of CHOICES) byId(one).value = one === key ? value : "";
    byId("search").value = "";
    narrow();
    byId("hosts").focus();
    byId("hosts").scrollIntoView();
  };

  const print = () => {
    byId("rows").replaceChildren(...rows(0, MOST_PRINTED));
    if (shown.length > MOST_PRINTED) byId("status").textContent += ", the first " + MOST_PRINTED + " here";
    if (shown.length <= MOST_TOLD && byId("opened").hidden) {
      byId("printed").replaceChildren(...shown.map((host) => tell(element("section"), host, "printed-" + host.place)));
      byId("printed").hidden = false;
    }
  };

  const printed = () => {
    byId("printed").hidden = true;
    byId("printed").replaceChildren();
    show();
  };

  fill();
  narrow();
  open();
  byId("controls").addEventListener("submit", (event) => event.preventDefault());
  for (const key of ["search", ...CHOICES]) byId(key).addEventListener("input", () => { only = null; narrow(); });
  byId("clear").addEventListener("click", () => { choose("", ""); byId("search").focus(); });
  byId("previous").addEventListener("click", () => { part -= 1; show(); });
  byId("next").addEventListener("click", () => { part += 1; show(); });
  for (const button of document.querySelectorAll("[data-choice]")) {
    const [key, ...value] = button.dataset.choice.split("=");
    button.addEventListener("click", () => choose(key, value.join("=")));
  }
  window.addEventListener("hashchange", open);
  window.addEventListener("beforeprint", print);
  window.addEventListener("afterprint", printed);
})();
