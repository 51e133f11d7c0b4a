// bus-watch: lets `wake` hand messages to this Copilot CLI over a Unix socket that only its user can open.
// Measured with Copilot CLI 1.0.102. One JSON line asked, one answered; see docs/channels.md.
import fs from "node:fs"
import net from "node:net"
import { dirname } from "node:path"
import { joinSession } from "@github/copilot-sdk/extension"

const folder = `${process.env.HOME}/.local/state/bus-watch`
const pid = process.ppid // Copilot's: an extension is a process of its own
const path = `${folder}/copilot-${pid}.sock`
const session = await joinSession()
const notes = `${session.workspacePath}/bus-watch.jsonl`
// Esc at a question empties Copilot's own queue: so what waits behind a turn is kept here, and one is handed over at a time.
const waiting = []
const states = new Map()
const begun = new Set() // the ids of all messages whose turn has begun
let sent, handing, timer

const untouched = (words) => Object.assign(new Error(words), { untouched: true })
// Each session that is open in Copilot has a process of this file, and one of them is on the screen.
const onScreen = async () => {
  const front = await session.connection.sendRequest("session.getForeground", {})
  if (front.sessionId !== session.sessionId) throw untouched("another session is on the screen")
}
const processing = async () => (await session.rpc.metadata.isProcessing()).processing
const queued = async (id) => (await session.rpc.queue.pendingItems()).items.some((one) => one.messageId === id)
const note = (words) => fs.appendFileSync(notes, JSON.stringify(words) + "\n", { mode: 0o600 })
const settle = () => {
  if (!sent?.id || !begun.has(sent.id)) return
  states.set(sent.suffix, "taken")
  sent = undefined
}
const later = () => {
  timer ??= setTimeout(() => {
    timer = undefined
    next()
  }, 500)
}
const next = async () => {
  if (handing || sent || !waiting.length) return
  handing = true
  try {
    if (await processing()) return later() // even at `session.idle` it may still say so
    note({ busWatch: waiting[0].suffix, handed: true })
    sent = waiting.shift()
    sent.id = await session.send({ prompt: sent.text })
    note({ busWatch: sent.suffix, id: sent.id })
    settle()
  } catch {
    if (!sent || sent.id) return
    states.set(sent.suffix, "unknown") // an error may come behind what was done, so it is not said once more
    sent = undefined
  } finally {
    handing = false
  }
}
const gone = async (one) => sent === one && !begun.has(one.id) && !(await queued(one.id))
const idle = async () => {
  settle()
  const one = sent
  if (one?.id && (await gone(one))) {
    await new Promise((done) => setTimeout(done, 300)) // a turn that has just begun with it is told a moment later
    if ((await gone(one)) && sent === one && !begun.has(one.id)) {
      waiting.unshift(one) // a person's Esc has emptied the queue
      sent = undefined
    }
  }
  await next()
}

// What an earlier process of this extension has handed over: in this session, the one that was handed it, or one that was
// left within a day.
const lines = (file) => (fs.existsSync(file) ? fs.readFileSync(file, "utf8").split("\n") : [])
const noted = async (suffix, meant) => {
  const all = dirname(session.workspacePath)
  const named = [meant, session.sessionId]
  const old = (name, file) => !named.includes(name) && Date.now() - fs.statSync(file).mtimeMs > 864e5
  if (meant && meant !== session.sessionId && !fs.existsSync(`${all}/${meant}`))
    throw new Error("the session that was handed it has no record: what became of it is not known")
  for (const name of fs.readdirSync(all)) {
    const file = `${all}/${name}/bus-watch.jsonl`
    if (!fs.existsSync(file) || old(name, file)) continue
    const mine = lines(file).filter((line) => line.includes(`"busWatch":"${suffix}"`))
    const { id, handed, by } = mine.map((line) => JSON.parse(line)).pop() ?? {}
    if (handed || by === pid) throw new Error("another session has it, or had: what became of it is not known")
    if (!id) continue // it waited in a process that is gone
    const wanted = `"messageId":"${id}"`
    const is = (line) => line.includes(wanted) && line.startsWith('{"type":"user.message"')
    const events = lines(`${all}/${name}/events.jsonl`)
    const at = events.findIndex(is)
    if (at >= 0) {
      if (events.slice(at).some((line) => line.startsWith('{"type":"assistant.message"'))) return "taken"
      throw new Error("its turn began, and Copilot ended before it answered: what became of it is not known")
    }
    if (await queued(id)) return "waiting"
  }
}
const look = async ({ suffix, session: meant }) => {
  if (!meant) await onScreen()
  await next()
  const state = suffix && (states.get(suffix) ?? (await noted(suffix, meant)))
  if (state === "unknown") throw new Error("Copilot answered it with an error: what became of it is not known")
  const busy = waiting.length > 0 || (!sent && (await processing())) // one that was handed over is next
  return { session: session.sessionId, busy, found: !!state, answered: state === "taken" }
}
const send = async ({ session: meant, suffix, text }) => {
  if (meant !== session.sessionId) throw untouched("another session is open by now")
  await onScreen()
  note({ busWatch: suffix, by: pid })
  states.set(suffix, "waiting")
  waiting.push({ suffix, text })
  await next()
  return {}
}
const answer = async (asked) => {
  if (asked.op === "look") return look(asked)
  if (asked.op === "send") return send(asked)
  throw new Error(`unknown operation ${asked.op}`)
}

session.on("user.message", ({ data }) => {
  begun.add(data.messageId)
  settle()
})
session.on("session.idle", () => idle().catch(() => {}))
fs.mkdirSync(folder, { recursive: true, mode: 0o700 })
fs.chmodSync(folder, 0o700)
fs.rmSync(path, { force: true })
const server = net.createServer((link) => {
  let said = ""
  link.setEncoding("utf8")
  link.on("error", () => {})
  link.on("data", async (part) => {
    said += part
    if (!said.endsWith("\n")) return
    let answered
    try {
      answered = await answer(JSON.parse(said))
    } catch (why) {
      answered = { error: String(why).slice(0, 300), untouched: why?.untouched }
    }
    link.end(JSON.stringify({ version: 1, agent: "copilot", pid, ...answered }) + "\n")
  })
})
server.on("error", () => {})
server.listen(path, () => fs.chmodSync(path, 0o600))
const leave = () => {
  fs.rmSync(path, { force: true })
  process.exit(0)
}
process.on("SIGTERM", leave)
process.on("disconnect", leave)
