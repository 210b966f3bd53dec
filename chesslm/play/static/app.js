// A game against a model, beside the board that it believes in. The server keeps no games: it is sent the moves.

const $ = (id) => document.getElementById(id);
const FILES = "abcdefgh";
const NAMES = { p: "pawn", n: "knight", b: "bishop", r: "rook", q: "queen", k: "king" };
const SHAPES = { p: "♟\uFE0E", n: "♞\uFE0E", b: "♝\uFE0E", r: "♜\uFE0E", q: "♛\uFE0E", k: "♚\uFE0E" };

const game = {
  moves: [], // in UCI
  positions: [], // by ply, as the server sees them
  at: 0, // the ply that is shown
  color: "white", // of the person; none: nobody plays
  picked: null, // a square
  erased: null, // what the model thinks of with the piece of a square gone from the board inside it
  focus: { game: "e2", belief: "e2" },
  turn: 0, // so that an answer to what has been overtaken is dropped
  model: "the model",
};

async function ask(what, body) {
  const answer = await fetch(`/api/${what}`, {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify(body),
  });
  const found = await answer.json();
  if (!answer.ok) throw new Error(found.error ?? answer.statusText);
  return found;
}

// The game

const now = () => game.positions[game.at];
const isWhite = (piece) => piece !== "." && piece === piece.toUpperCase();
const square = (index) => FILES[index % 8] + (1 + Math.floor(index / 8));
const index = (name) => FILES.indexOf(name[0]) + 8 * (name[1] - 1);

function playersTurn() {
  const position = now();
  return position && !position.ending && game.color !== "none" && position.white === (game.color === "white");
}

async function look(from, to) {
  const turn = game.turn;
  for (let ply = from; ply < to; ) {
    const { positions } = await ask("look", { moves: game.moves, from: ply, to });
    if (turn !== game.turn) return false;
    for (const position of positions) game.positions[position.ply] = position;
    ply += positions.length;
    if (ply < to) draw();
  }
  return turn === game.turn;
}

// From the position that is shown: what came after it is given up.
async function play(move) {
  const at = game.at;
  game.turn += 1;
  game.moves = [...game.moves.slice(0, at), move];
  game.positions.length = at + 1;
  game.picked = game.erased = null;
  if (!(await look(at + 1, at + 2))) return;
  game.at = at + 1;
  draw();
  const { san } = now().last;
  say(`You: ${san}.`);
  await answer(`You: ${san}. `);
}

async function answer(before = "") {
  if (now().ending || game.color === "none" || playersTurn() || game.at !== game.moves.length) return;
  // Meanwhile one may step back, or take the other side.
  const { turn, at, color } = game;
  say(`${before}${game.model} is thinking.`);
  const reply = await ask("reply", { moves: game.moves, temperature: Number($("temperature").value) });
  if (turn !== game.turn || color !== game.color) return;
  game.moves = [...game.moves.slice(0, at), reply.move];
  game.erased = null;
  if (!(await look(at + 1, at + 2))) return;
  game.at = at + 1;
  const wrong = reply.raw.filter((raw) => raw.illegal).map((raw) => `It wanted ${raw.text}: ${raw.illegal}. `);
  draw();
  say(`${before}${game.model}: ${now().last.san}. ${wrong.join("")}`);
}

async function start(moves, at) {
  game.turn += 1;
  Object.assign(game, { moves, positions: [], at: 0, picked: null, erased: null });
  if (!(await look(0, 1))) return;
  draw();
  if (moves.length && !(await look(1, moves.length + 1))) return;
  game.at = at;
  draw();
  say(moves.length ? `${moves.length} moves. Step through them.` : game.color === "white" ? "Your move." : "");
  await answer();
}

function go(at) {
  if (at < 0 || at > game.moves.length || !game.positions[at]) return;
  game.at = at;
  game.picked = game.erased = null;
  draw();
  const { last, ending } = now();
  say(last ? `After ${numbered(at)}.` : "The start.");
  if (ending) say(`${ending.words}: ${ending.result}.`);
}

const numbered = (ply) => `${Math.ceil(ply / 2)}${ply % 2 ? "." : "…"} ${game.positions[ply].last.san}`;

async function attempt(from, to) {
  const legal = now().legal.filter((move) => move.startsWith(from + to));
  if (!playersTurn() || !legal.length) return false;
  let move = legal[0];
  if (legal.length > 1) {
    const dialog = $("promotion");
    dialog.returnValue = "";
    dialog.showModal();
    await new Promise((done) => dialog.addEventListener("close", done, { once: true }));
    if (!dialog.returnValue) return false;
    move = from + to + dialog.returnValue;
  }
  await play(move);
  return true;
}

function pick(name) {
  const piece = now().board[index(name)];
  const mine = playersTurn() && piece !== "." && isWhite(piece) === now().white;
  game.picked = mine && game.picked !== name ? name : null;
  draw();
}

// From the board inside the model; the same piece once more puts it back.
async function erase(name) {
  if (game.erased?.square === name) {
    game.erased = null;
    draw();
    say(`${name} is put back.`);
    return;
  }
  const { turn, at } = game;
  const found = await ask("erase", { moves: game.moves.slice(0, at), square: name });
  if (turn !== game.turn || at !== game.at) return;
  game.erased = found;
  draw();
  const [first] = found.candidates;
  say(`The ${labelOf(now().believed[index(name)])} on ${name} is gone from its board: now it would play ${first.text}${first.illegal ? `, illegal there: ${first.illegal}` : ""}.`);
}

// What is shown

function say(text) {
  $("status").textContent = text;
}

function labelOf(piece) {
  return piece === "." ? "empty" : `${isWhite(piece) ? "white" : "black"} ${NAMES[piece.toLowerCase()]}`;
}

function makeBoard(id, interactive) {
  const board = $(id);
  board.replaceChildren();
  const turned = game.color === "black";
  for (let r = 0; r < 8; r += 1) {
    const row = document.createElement("div");
    row.className = "row";
    row.setAttribute("role", "row");
    for (let f = 0; f < 8; f += 1) {
      const name = FILES[turned ? 7 - f : f] + (turned ? r + 1 : 8 - r);
      const cell = document.createElement(interactive ? "button" : "div");
      cell.setAttribute("role", "gridcell");
      cell.dataset.square = name;
      cell.tabIndex = -1;
      if (interactive) cell.type = "button";
      row.append(cell);
    }
    board.append(row);
  }
}

function fill(cell, piece) {
  const name = cell.dataset.square;
  const i = index(name);
  cell.className = `cell ${(Math.floor(i / 8) + i) % 2 ? "" : "dark"}`;
  cell.replaceChildren();
  if (piece !== ".") {
    const shape = document.createElement("span");
    shape.className = `piece ${isWhite(piece) ? "white" : "black"}`;
    shape.textContent = SHAPES[piece.toLowerCase()];
    cell.append(shape);
  }
  const bottom = game.color === "black" ? "8" : "1";
  const left = game.color === "black" ? "h" : "a";
  if (name[1] === bottom || name[0] === left) {
    const label = document.createElement("span");
    label.className = "name";
    label.textContent = (name[1] === bottom ? name[0] : "") + (name[0] === left ? name[1] : "");
    label.setAttribute("aria-hidden", "true");
    cell.append(label);
  }
}

function drawGame(position) {
  const targets = game.picked ? position.legal.filter((m) => m.startsWith(game.picked)).map((m) => m.slice(2, 4)) : [];
  for (const cell of $("game").querySelectorAll("[data-square]")) {
    const name = cell.dataset.square;
    const piece = position.board[index(name)];
    fill(cell, piece);
    const marks = {
      last: position.last && (position.last.uci.slice(0, 2) === name || position.last.uci.slice(2, 4) === name),
      picked: game.picked === name,
      target: targets.includes(name),
      check: position.check === name,
    };
    for (const [mark, on] of Object.entries(marks)) cell.classList.toggle(mark, Boolean(on));
    const more = `${marks.picked ? ", picked up" : ""}${marks.target ? ", can be moved to" : ""}${marks.check ? ", in check" : ""}`;
    cell.setAttribute("aria-label", `${name}, ${labelOf(piece)}${more}`);
    cell.tabIndex = name === game.focus.game ? 0 : -1;
  }
}

function drawBelief(position) {
  $("belief-figure").hidden = !game.probe;
  if (!game.probe) return;
  const believed = position.believed ?? position.board;
  let wrong = 0;
  for (const cell of $("belief").querySelectorAll("[data-square]")) {
    const name = cell.dataset.square;
    const i = index(name);
    const gone = game.erased?.square === name;
    fill(cell, gone ? "." : believed[i]);
    cell.tabIndex = game.edits && name === game.focus.belief ? 0 : -1;
    cell.classList.toggle("gone", gone);
    const sure = position.sure ? position.sure[i] : 1;
    cell.style.setProperty("--sure", sure);
    const isWrong = believed[i] !== position.board[i];
    wrong += isWrong;
    cell.classList.toggle("wrong", isWrong && !gone);
    const truth = isWrong ? `, wrong: ${labelOf(position.board[i])}` : "";
    cell.setAttribute("aria-label", `${name}, ${labelOf(believed[i])}, ${Math.round(100 * sure)} % sure${truth}${gone ? ", erased" : ""}`);
  }
  $("erase-says").hidden = !(game.edits && position.believed);
  $("belief-says").textContent = position.believed
    ? `${wrong ? `${wrong} of 64 squares ${wrong === 1 ? "is" : "are"} wrong` : "All 64 squares are right"}, by a linear probe of its activations.`
    : position.ply
      ? "The game is longer than it can look back: this is the board as it is."
      : "Before the first move there is nothing to believe.";
}

const candidatesOf = (position) => game.erased?.candidates ?? position.candidates;

function drawThoughts(position) {
  const items = candidatesOf(position).map((move) => {
    const item = document.createElement("li");
    item.className = move.illegal ? "illegal" : "legal";
    const [text, bar, share] = ["span", "span", "span"].map((tag) => document.createElement(tag));
    text.textContent = move.text;
    bar.className = "bar";
    bar.style.width = `${100 * move.probability}%`;
    share.className = "share";
    share.textContent = `${(100 * move.probability).toFixed(1)}\u00A0%`;
    item.append(text, bar, share);
    if (move.illegal) {
      const why = document.createElement("span");
      why.className = "why";
      why.textContent = `illegal: ${move.illegal}`;
      item.append(why);
    }
    return item;
  });
  $("thoughts").replaceChildren(...items);
  $("illegal-says").textContent = game.erased
    ? `With ${game.erased.square} erased; moves are legal or not without that piece.`
    : position.illegal === null ? "" : `${(100 * position.illegal).toFixed(1)} % of its probability is on illegal moves.`;
}

function drawArrows(position) {
  const svg = (tag, attributes) => {
    const made = document.createElementNS("http://www.w3.org/2000/svg", tag);
    for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
    return made;
  };
  const turned = game.color === "black";
  const middle = (name) => {
    const i = index(name);
    const [x, y] = [(i % 8) + 0.5, 7.5 - Math.floor(i / 8)];
    return turned ? [8 - x, 8 - y] : [x, y];
  };
  const drawn = candidatesOf(position)
    .filter((move) => move.uci && move.probability >= 0.03)
    .map((move) => {
      const [[x1, y1], [x2, y2]] = [middle(move.uci.slice(0, 2)), middle(move.uci.slice(2, 4))];
      const long = Math.hypot(x2 - x1, y2 - y1) || 1;
      const [dx, dy] = [(x2 - x1) / long, (y2 - y1) / long];
      const width = 0.04 + 0.14 * Math.sqrt(move.probability);
      const head = width * 2;
      const [bx, by] = [x2 - dx * head * 1.6, y2 - dy * head * 1.6];
      const group = svg("g", { class: move.illegal ? "illegal" : "legal", opacity: 0.75, "data-move": move.uci });
      group.append(
        svg("line", { x1, y1, x2: bx, y2: by, "stroke-width": width }),
        svg("polygon", { points: `${x2},${y2} ${bx - dy * head},${by + dx * head} ${bx + dy * head},${by - dx * head}` }),
      );
      return group;
    });
  $("arrows").replaceChildren(...drawn);
}

function drawCurve() {
  const known = game.positions.filter((position) => position && position.illegal !== null);
  const last = Math.max(game.moves.length, 1);
  const x = (ply) => (300 * ply) / last;
  const points = known.map((position) => `${x(position.ply)},${88 - 86 * position.illegal}`).join(" ");
  $("curve").innerHTML = "";
  const make = (tag, attributes) => {
    const made = document.createElementNS("http://www.w3.org/2000/svg", tag);
    for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
    $("curve").append(made);
  };
  make("polyline", { points });
  make("line", { x1: x(game.at), x2: x(game.at), y1: 0, y2: 90 });
  const most = known.reduce((worst, each) => (each.illegal > worst.illegal ? each : worst), known[0] ?? { illegal: 0, ply: 0 });
  $("curve-says").textContent = known.length
    ? `From 0 to 100 %, by ply; the most is ${(100 * most.illegal).toFixed(1)} % after ply ${most.ply}.`
    : "";
}

function drawMoves() {
  const items = [];
  for (let ply = 1; ply <= game.moves.length; ply += 2) {
    const item = document.createElement("li");
    for (const each of [ply, ply + 1]) {
      const position = game.positions[each];
      if (each > game.moves.length || !position) continue;
      const button = document.createElement("button");
      button.type = "button";
      button.textContent = position.last.san;
      button.dataset.ply = each;
      if (each === game.at) button.setAttribute("aria-current", "step");
      item.append(button);
    }
    items.push(item);
  }
  $("moves").replaceChildren(...items);
  $("moves").querySelector("[aria-current]")?.scrollIntoView({ block: "nearest" });
}

function draw() {
  const position = now();
  if (!position) return;
  drawGame(position);
  drawBelief(position);
  drawThoughts(position);
  drawArrows(position);
  drawCurve();
  drawMoves();
  $("first").disabled = $("back").disabled = game.at === 0;
  $("forth").disabled = $("last").disabled = game.at === game.moves.length;
  $("undo").disabled = game.at === 0;
}

// What people do

const guarded = (act) => (...given) => Promise.resolve(act(...given)).catch((error) => say(error.message));
const squareAt = (x, y) => document.elementFromPoint(x, y)?.closest("#game [data-square]")?.dataset.square;

let dragged = null;
$("game").addEventListener("pointerdown", guarded(async (event) => {
  const name = event.target.closest("[data-square]")?.dataset.square;
  if (!name || event.button) return;
  event.preventDefault();
  focus(name);
  if (game.picked && game.picked !== name && (await attempt(game.picked, name))) return;
  const was = game.picked;
  if (was !== name) pick(name);
  if (!game.picked) return;
  const ghost = document.createElement("span");
  // Not the target of the event, which was drawn anew.
  const shape = $("game").querySelector(`[data-square=${name}] .piece`);
  ghost.className = `ghost ${shape.className}`;
  ghost.textContent = shape.textContent;
  dragged = { name, ghost, again: was === name, moved: false, x: event.clientX, y: event.clientY };
}));
document.addEventListener("pointermove", (event) => {
  if (!dragged) return;
  dragged.moved ||= Math.hypot(event.clientX - dragged.x, event.clientY - dragged.y) > 6;
  if (!dragged.moved) return;
  if (!dragged.ghost.isConnected) document.body.append(dragged.ghost);
  dragged.ghost.style.left = `${event.clientX}px`;
  dragged.ghost.style.top = `${event.clientY}px`;
});
document.addEventListener("pointerup", guarded(async (event) => {
  if (!dragged) return;
  const { name, ghost, again, moved } = dragged;
  dragged = null;
  ghost.remove();
  const to = squareAt(event.clientX, event.clientY);
  if (moved && to && to !== name) {
    if (!(await attempt(name, to))) pick(name);
  } else if (again) pick(name);
}));
document.addEventListener("pointercancel", () => {
  dragged?.ghost.remove();
  dragged = null;
});

function focus(name, board = "game") {
  game.focus[board] = name;
  for (const cell of $(board).querySelectorAll("[data-square]")) cell.tabIndex = cell.dataset.square === name ? 0 : -1;
  $(board).querySelector(`[data-square=${name}]`).focus();
}

for (const board of ["game", "belief"]) {
  $(board).addEventListener("keydown", (event) => {
    const steps = { ArrowUp: [0, 1], ArrowDown: [0, -1], ArrowLeft: [-1, 0], ArrowRight: [1, 0] };
    if (!(event.key in steps)) return;
    event.preventDefault();
    const side = game.color === "black" ? -1 : 1;
    const [at, step] = [game.focus[board], steps[event.key]];
    const [f, r] = [FILES.indexOf(at[0]) + side * step[0], Number(at[1]) + side * step[1]];
    if (f >= 0 && f < 8 && r >= 1 && r <= 8) focus(FILES[f] + r, board);
  });
}
$("belief").addEventListener("click", guarded(async (event) => {
  const name = event.target.closest("[data-square]")?.dataset.square;
  if (!name || !game.edits || !now().believed) return;
  focus(name, "belief");
  await erase(name);
}));

$("game").addEventListener("keydown", guarded(async (event) => {
  if (event.key === "Enter" || event.key === " ") {
    event.preventDefault();
    const name = game.focus.game;
    if (!(game.picked && game.picked !== name && (await attempt(game.picked, name)))) pick(name);
    focus(game.focus.game);
  } else if (event.key === "Escape") {
    game.picked = null;
    draw();
  }
}));
document.addEventListener("keydown", (event) => {
  if (event.target.matches("input, textarea, select")) return;
  if (event.key === "PageUp" || event.key === "PageDown") {
    event.preventDefault();
    go(game.at + (event.key === "PageUp" ? -1 : 1));
  }
});

$("typed").addEventListener("submit", guarded(async (event) => {
  event.preventDefault();
  const text = $("move").value.trim();
  if (!text) return;
  if (!playersTurn()) throw new Error(now().ending ? "The game is over." : "It is not your turn here.");
  const { move } = await ask("read", { moves: game.moves.slice(0, game.at), text });
  $("move").value = "";
  await play(move);
}));
$("first").addEventListener("click", () => go(0));
$("back").addEventListener("click", () => go(game.at - 1));
$("forth").addEventListener("click", () => go(game.at + 1));
$("last").addEventListener("click", () => go(game.moves.length));
$("moves").addEventListener("click", (event) => {
  if (event.target.dataset.ply) go(Number(event.target.dataset.ply));
});
$("undo").addEventListener("click", guarded(async () => {
  // To where it was the person's turn; a game that is only watched, by one.
  let at = game.at - 1;
  while (at > 0 && game.color !== "none" && game.positions[at].white !== (game.color === "white")) at -= 1;
  game.turn += 1;
  game.moves = game.moves.slice(0, at);
  game.positions.length = at + 1;
  go(at);
  await answer();
}));
$("new").addEventListener("click", guarded(() => start([], 0)));
$("color").addEventListener("change", guarded(async () => {
  game.color = $("color").value;
  makeBoard("game", true);
  makeBoard("belief", game.edits);
  draw();
  await answer();
}));
$("temperature").addEventListener("input", () => {
  $("temperature-says").textContent = $("temperature").value;
});
$("follow").addEventListener("click", guarded(async () => {
  const { moves } = await ask("read", { pgn: $("pgn").value });
  $("color").value = game.color = "none";
  makeBoard("game", true);
  makeBoard("belief", game.edits);
  await start(moves, 0);
}));

guarded(async () => {
  const { name, probe, edits } = await ask("about", {});
  Object.assign(game, { model: name, probe, edits });
  $("name").textContent = name;
  makeBoard("game", true);
  makeBoard("belief", game.edits);
  await start([], 0);
})();
