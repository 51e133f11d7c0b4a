// Shows what the server says, and asks it to run commands. Text of messages comes in as JSON and goes out as text
// nodes: nothing here makes HTML of a string, and the page's Content-Security-Policy would not let it.

const byId = (id) => document.getElementById(id);
const PANES = { idle: "good", busy: "", draft: "warn", dialog: "bad", gone: "bad", refused: "bad" };
const STATES = { dead: "bad", held: "warn", retrying: "warn" };

let board = null; // the newest snapshot
let deliveries = []; // of the chosen agent
let session = { csrf: "" };
let frozen = false;
let behind = 0; // seconds by which this clock is behind the server's

function wantedAgent() {
  try {
    return decodeURIComponent(location.hash.slice(1));
  } catch {
    return ""; // somebody else wrote this link
  }
}

const chosen = () => {
  const wanted = wantedAgent();
  const names = board.agents.map((one) => one.name);
  return names.includes(wanted) ? wanted : names[0] ?? "";
};

function age(at) {
  if (at === null) return "";
  const seconds = Math.max(0, Date.now() / 1000 + behind - at);
  for (const [unit, size] of [["d", 86400], ["h", 3600], ["m", 60]]) {
    if (seconds >= 1.5 * size) return `${Math.round(seconds / size)}${unit}`;
  }
  return `${Math.round(seconds)}s`;
}

function make(tag, fields = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(fields)) {
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else if (name === "class") node.className = value;
    else node.setAttribute(name, value);
  }
  node.append(...children);
  return node;
}

function say(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

function mark(node, name, value) {
  if (node.getAttribute(name) !== value) node.setAttribute(name, value);
}

// Rows that stay the same nodes as long as their keys do, so that focus and reading position stay too.
function rows(list, items, keyOf, build, update) {
  const known = new Map([...list.children].map((node) => [node.dataset.key, node]));
  const focused = document.activeElement;
  items.forEach((item, index) => {
    const key = keyOf(item);
    let node = known.get(key);
    known.delete(key);
    if (!node) {
      node = build(item);
      node.dataset.key = key;
    }
    update(node, item);
    if (list.children[index] !== node) list.insertBefore(node, list.children[index] ?? null);
  });
  for (const node of known.values()) node.remove();
  if (focused !== document.activeElement && list.contains(focused)) focused.focus();
}

// What is wrong, and behind it what helps: a button where it can be done here, else the command.
function problems(list, found) {
  const keyOf = (one) => one.helps.map((help) => help.command).join("\n") + one.words.replace(/\d+/g, "");
  const build = (one) => {
    const offered = one.helps.map((help) => {
      if (!help.run) return make("code", {}, help.command);
      const button = make("button", { type: "button" }, help.command);
      offers(button, { verb: help.verb });
      return button;
    });
    return make("li", {}, make("span"), ...(offered.length ? [make("span", { class: "helps" }, ...offered)] : []));
  };
  rows(list, found, keyOf, build, (row, one) => say(row.firstChild, one.words));
}

// -- what is shown ---------------------------------------------------------------------------------------------------

function showBoard() {
  if (!board) return;
  say(byId("headline"), board.headline);
  document.title = board.headline;
  problems(byId("problems"), board.problems);
  const wanted = byId("find").value;
  const found = board.agents.filter(
    (one) => one.name.includes(wanted) || (one.name === chosen() && deliveries.some((each) => matches(each, wanted))),
  );
  rows(byId("agents"), found, (one) => one.name, buildAgent, updateAgent);
  showAgent();
}

function buildAgent(one) {
  const spans = ["name", "pane", "waits", "oldest", "last", "hours"].map((name) => make("span", { class: name }));
  const choose = () => {
    location.hash = encodeURIComponent(one.name);
  };
  return make("li", {}, make("button", { type: "button", class: "agent", onclick: choose }, ...spans));
}

function updateAgent(row, one) {
  const button = row.firstChild;
  const [name, pane, waits, oldest, last, hours] = button.children;
  const stuck = ["dead", "held"].filter((state) => one.counts[state]).map((state) => `${one.counts[state]} ${state}`);
  if (one.paused.length) stuck.push("paused");
  const waiting = [String(one.waits), ...stuck].join(", ");
  const delivered = one.delivered_at === null ? "never" : age(one.delivered_at);
  say(name, one.name);
  say(pane, one.pane);
  pane.className = `pane ${PANES[one.pane] ?? ""}`;
  say(waits, waiting);
  waits.className = `waits ${one.counts.dead ? "bad" : one.counts.held || one.counts.retrying ? "warn" : ""}`;
  say(oldest, age(one.oldest_at));
  say(last, delivered);
  say(hours, one.hours);
  mark(button, "aria-current", String(one.name === chosen()));
  const parts = [
    `${one.name}: pane ${one.pane === "-" ? "none" : one.pane}`,
    `${waiting.replace(/^(\d+)/, "$1 waiting")}`,
    one.oldest_at === null ? "" : `oldest ${age(one.oldest_at)}`,
    `last delivered ${delivered === "never" ? delivered : `${delivered} ago`}`,
    `${one.came} came in 24 hours`,
  ];
  mark(button, "aria-label", parts.filter(Boolean).join(", "));
}

function showAgent() {
  const one = board.agents.find((each) => each.name === chosen());
  say(byId("agent-title"), one ? one.name : "No agent");
  byId("compose").hidden = !one;
  if (!one) return;
  problems(byId("agent-problems"), one.problems);
  byId("attach").hidden = !one.attach || one.problems.some((each) => each.helps.some((help) => help.verb === "attach"));
  say(byId("attach-command"), one.attach);
  rows(byId("lanes"), one.transports, (name) => name, (name) => buildLane(name), (row, name) => updateLane(row, one, name));
  const wanted = byId("find").value;
  const found = deliveries.filter((each) => one.name.includes(wanted) || matches(each, wanted));
  byId("nothing").hidden = found.length > 0;
  rows(byId("deliveries"), found, (each) => `${each.key} ${each.transport}`, buildDelivery, updateDelivery);
}

function buildLane(name) {
  return make("li", {}, make("span", {}, name), make("button", { type: "button" }));
}

function updateLane(row, one, name) {
  const button = row.lastChild;
  const verb = one.paused.includes(name) ? "resume" : "pause";
  say(row.firstChild, verb === "resume" ? `${name}: paused` : name);
  say(button, verb);
  offers(button, { verb, agent: one.name, transport: name });
}

const matches = (one, wanted) => one.key.includes(wanted) || one.first_line.includes(wanted);

function buildDelivery(one) {
  const facts = make("p", { class: "facts" });
  const buttons = ["story", "retry", "drop"].map((verb) => make("button", { type: "button" }, verb));
  buttons[0].addEventListener("click", () => tell(one.key));
  buttons[0].dataset.command = `bus-watch show ${one.key}`;
  const row = make(
    "li",
    { class: "delivery" },
    facts,
    make("p", { class: "line" }),
    make("p", { class: "words" }),
    make("div", { class: "buttons" }, ...buttons),
  );
  offers(buttons[1], { verb: "retry", key: one.key, transport: one.transport });
  offers(buttons[2], { verb: "drop", key: one.key, transport: one.transport });
  return row;
}

function updateDelivery(row, one) {
  const [facts, line, words, buttons] = row.children;
  row.className = `delivery ${STATES[one.state] ?? ""}`;
  const state = `${one.state}, ${age(Date.parse(one.received_at) / 1000)}, by ${one.transport}, ${one.key}`;
  say(facts, state);
  say(line, one.first_line || "(no text)");
  say(words, one.words);
  for (const button of buttons.children) mark(button, "aria-label", `${button.textContent}: ${one.first_line || one.key}`);
  buttons.children[1].hidden = one.state === "running";
}

// -- what is done ----------------------------------------------------------------------------------------------------

const quoted = (word) => (/^[\w@%+=:,./-]+$/.test(word) ? word : `'${word.replaceAll("'", `'"'"'`)}'`);

function commandOf(action) {
  if (!action.agent && !action.key) return `bus-watch ${action.verb}`;
  const words = action.key
    ? [action.verb, action.key, "--transport", action.transport]
    : action.transport
      ? [action.verb, action.transport, "--agent", action.agent]
      : [action.verb, action.agent, "-", "--as", action.agent, "-C", "human"];
  return ["bus-watch", ...words.map(quoted)].join(" ");
}

function offers(button, action) {
  const before = button.dataset.command;
  button.dataset.command = commandOf(action);
  if (before !== button.dataset.command) {
    button.title = button.dataset.command;
    button.onclick = () => (action.verb === "drop" ? ask(action) : run(action));
  }
}

async function run(action) {
  say(byId("said"), `${commandOf(action)}: running`);
  const answer = await post("/do", action);
  say(byId("said"), answer.words ?? answer.message ?? "failed");
  if (action.verb === "doctor" && answer.printed) showLines(answer.command, answer.printed);
  await read();
  return answer.status === 0;
}

async function ask(action) {
  const dialog = byId("confirm");
  say(byId("confirm-command"), commandOf(action));
  dialog.returnValue = "leave";
  dialog.showModal();
  await new Promise((closed) => dialog.addEventListener("close", closed, { once: true }));
  if (dialog.returnValue === "run") await run(action);
}

async function post(path, said) {
  try {
    const headers = { "Content-Type": "application/json", "X-CSRF-Token": session.csrf };
    const answer = await fetch(path, { method: "POST", headers, body: JSON.stringify(said) });
    return answer.headers.get("Content-Type") === "application/json" ? await answer.json() : { message: await answer.text() };
  } catch {
    return { message: "the server does not answer: is bus-watch web running?" };
  }
}

async function tell(key) {
  const answer = await fetch(`/messages/${key.split("/").map(encodeURIComponent).join("/")}`);
  if (!answer.ok) {
    say(byId("said"), (await answer.text()).trim());
    return;
  }
  const story = await answer.json();
  const buttons = story.deliveries.flatMap(({ transport, verbs }) =>
    verbs.map((verb) => {
      const button = make("button", { type: "button" }, commandOf({ verb, key, transport }));
      button.addEventListener("click", () => {
        byId("story").close();
        if (verb === "drop") ask({ verb, key, transport });
        else run({ verb, key, transport });
      });
      return button;
    }),
  );
  showLines(story.title, story.lines, buttons);
}

function showLines(title, lines, buttons = []) {
  say(byId("story-title"), title);
  byId("story-lines").replaceChildren(...lines.map((line) => make("li", {}, line)));
  byId("story-actions").replaceChildren(...buttons);
  byId("story").showModal();
}

// -- reading ---------------------------------------------------------------------------------------------------------

let reading = false;
let again = false;

async function read() {
  if (!board) return;
  if (reading) {
    again = true;
    return;
  }
  reading = true;
  try {
    const name = chosen();
    const answer = name ? await fetch(`/agents/${encodeURIComponent(name)}`) : null;
    if (answer?.ok && name === chosen()) deliveries = (await answer.json()).deliveries;
    showBoard();
  } catch {
    state("not connected: is bus-watch web running?");
  } finally {
    reading = false;
    if (again) {
      again = false;
      read();
    }
  }
}

let events = null;

const state = (words) => say(byId("state"), words);

function listen() {
  events = new EventSource("/events");
  events.addEventListener("board", (event) => {
    if (frozen) return;
    board = JSON.parse(event.data);
    behind = board.now - Date.now() / 1000;
    state("live");
    read();
  });
  events.addEventListener("trouble", (event) => state(JSON.parse(event.data).words));
  events.addEventListener("error", async () => {
    state("not connected: trying again");
    if (events.readyState !== EventSource.CLOSED) return;
    const answer = await fetch("/session").catch(() => null);
    if (answer?.status === 401) state("not let in any more: bus-watch web --link prints a new link");
    else setTimeout(() => document.hidden || listen(), 5000);
  });
}

// A page that nobody looks at costs nothing, and holds none of the few connections that a browser has for a host.
document.addEventListener("visibilitychange", () => {
  if (document.hidden) events?.close();
  else listen();
});

addEventListener("hashchange", () => {
  deliveries = [];
  showBoard();
  read();
  if (matchMedia("(max-width: 75rem)").matches) byId("agent").scrollIntoView();
  byId("agent").focus({ preventScroll: true });
});

byId("find").addEventListener("input", showBoard);

byId("freeze").addEventListener("click", (event) => {
  frozen = !frozen;
  event.currentTarget.setAttribute("aria-pressed", String(frozen));
  state(frozen ? "frozen: what you see stays" : "live");
});

byId("compose").addEventListener("submit", async (event) => {
  event.preventDefault();
  const text = byId("text");
  if (await run({ verb: "send", agent: chosen(), text: text.value })) text.value = "";
});

// The command behind what the pointer or the focus is on.
for (const [on, off] of [["focusin", "focusout"], ["pointerover", "pointerout"]]) {
  document.addEventListener(on, (event) => {
    const offered = event.target.closest?.("[data-command]");
    if (offered) say(byId("command"), offered.dataset.command);
  });
  document.addEventListener(off, () => say(byId("command"), ""));
}

// Arrows go from row to row; r and d, in a row, are its buttons, as in `bus-watch top`.
document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.altKey || event.metaKey || event.target.matches("input, textarea")) return;
  const row = event.target.closest("#agents > li, #deliveries > li");
  if (!row) return;
  const step = { ArrowDown: "nextElementSibling", ArrowUp: "previousElementSibling" }[event.key];
  const name = { r: "retry", d: "drop" }[event.key];
  if (step) {
    row[step]?.querySelector("button")?.focus();
    event.preventDefault();
  } else if (name) {
    [...row.querySelectorAll("button")].find((button) => button.textContent === name && !button.hidden)?.click();
  }
});

setInterval(() => frozen || document.hidden || showBoard(), 5000); // ages go on

session = await fetch("/session").then((answer) => (answer.ok ? answer.json() : { csrf: "" }));
if (!document.hidden) listen();
