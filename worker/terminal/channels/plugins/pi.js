// bus-watch: lets `wake` hand messages to this pi over a Unix socket that only its user can open.
// Measured with pi 1.6.0. One JSON line asked, one answered; see docs/channels.md.
import fs from "node:fs"
import net from "node:net"
import { dirname, join } from "node:path"

export default function (pi) {
  const folder = `${process.env.HOME}/.local/state/bus-watch`
  const path = `${folder}/pi-${process.pid}.sock`
  // /new, /resume and /reload load this file again; what was handed over outlives them.
  const mine = (globalThis.busWatch ??= { waiting: [], states: new Map() })
  mine.late ??= [] // an older version of this file may have made the rest
  let ctx, server
  const next = () => {
    if (mine.sent || !ctx?.isIdle() || !mine.waiting.length) return
    mine.sent = { ...mine.waiting.shift(), at: Date.now() }
    pi.sendUserMessage(mine.sent.text, { deliverAs: "followUp" })
  }
  // Handed over, and no turn began: pi may have put it into the person's box, or still think about it.
  const settle = () => {
    if (ctx?.isIdle() && mine.sent && Date.now() - mine.sent.at > 5000) {
      mine.states.set(mine.sent.suffix, "unknown")
      mine.late.push(mine.sent)
      mine.sent = undefined
    }
    next()
  }
  const records = (dir) =>
    (fs.existsSync(dir) ? fs.readdirSync(dir) : []).filter((one) => one.endsWith(".jsonl")).map((one) => join(dir, one))
  const late = (file) => Date.now() - fs.statSync(file).mtimeMs < 864e5
  // What was said in a session since a turn began with it; undefined: none did.
  const since = (file, suffix) => fs.readFileSync(file, "utf8").split(`"busWatch":"${suffix}"`)[1]
  // Whether a session has it: one of this folder that was open within a day, or the one that was handed it. A turn that was
  // cut off before any answer may have begun at the model or not; what is in the session goes there with the next one.
  const recorded = (suffix, meant) => {
    const dir = ctx.sessionManager.getSessionDir()
    const is = (file) => file.endsWith(`_${meant}.jsonl`)
    const own = records(dir)
    let theirs = own.filter(is)
    if (meant && meant !== ctx.sessionManager.getSessionId() && !theirs.length) {
      const all = fs.readdirSync(dirname(dir), { withFileTypes: true }).filter((one) => one.isDirectory())
      theirs = all.flatMap((one) => records(join(dirname(dir), one.name)).filter(is))
      if (!theirs.length) throw new Error("the session that was handed it has no record: what became of it is not known")
    }
    const found = [...theirs, ...own.filter(late)].map((file) => since(file, suffix)).filter((words) => words !== undefined)
    if (found.length && !found.some((words) => words.includes('"role":"assistant"')))
      throw new Error("its turn began, and pi ended before it answered: what became of it is not known")
    return found.length > 0
  }
  const look = ({ suffix, session }) => {
    settle()
    const state = suffix && (mine.states.get(suffix) ?? (recorded(suffix, session) ? "taken" : ""))
    if (state === "unknown") throw new Error("pi was handed it, and began no turn with it: what became of it is not known")
    const busy = !ctx.isIdle() || mine.waiting.length > 0
    return { session: ctx.sessionManager.getSessionId(), busy, found: !!state, answered: state === "taken" }
  }
  const untouched = (words) => Object.assign(new Error(words), { untouched: true })
  const send = ({ session, suffix, text }) => {
    if (session !== ctx?.sessionManager.getSessionId()) throw untouched("another session is open by now")
    mine.states.set(suffix, "waiting")
    mine.waiting.push({ suffix, text })
    next()
    return {}
  }
  const answer = (asked) => {
    if (asked.op === "look") return look(asked)
    if (asked.op === "send") return send(asked)
    throw new Error(`unknown operation ${asked.op}`)
  }
  const serve = (link) => {
    let said = ""
    link.setEncoding("utf8")
    link.on("error", () => {})
    link.on("data", (part) => {
      said += part
      if (!said.endsWith("\n")) return
      let answered
      try {
        answered = answer(JSON.parse(said))
      } catch (why) {
        answered = { error: String(why).slice(0, 300), untouched: why?.untouched }
      }
      link.end(JSON.stringify({ version: 1, agent: "pi", pid: process.pid, ...answered }) + "\n")
    })
  }
  pi.on("session_start", (_event, context) => {
    ctx = context
    if (!ctx.hasUI) return
    fs.mkdirSync(folder, { recursive: true, mode: 0o700 })
    fs.chmodSync(folder, 0o700)
    fs.rmSync(path, { force: true })
    server = net.createServer(serve)
    server.on("error", () => {})
    server.listen(path, () => fs.chmodSync(path, 0o600))
    server.unref()
    setTimeout(next, 100)
  })
  pi.on("message_start", ({ message }) => {
    const parts = typeof message.content === "string" ? [{ text: message.content }] : message.content
    const text = parts.map((one) => one.text ?? "").join("")
    const ours = message.role === "user" && [mine.sent, ...mine.late].find((one) => one?.text === text)
    if (!ours) return
    mine.states.set(ours.suffix, "taken")
    pi.appendEntry("bus-watch", { busWatch: ours.suffix })
    if (ours === mine.sent) mine.sent = undefined
    mine.late = mine.late.filter((one) => one !== ours)
  })
  pi.on("agent_settled", (_event, context) => {
    ctx = context
    settle()
    if (mine.sent) setTimeout(settle, 5100).unref()
  })
  pi.on("session_shutdown", () => {
    ctx = undefined // pi throws where an old one is used
    server?.close()
    fs.rmSync(path, { force: true })
  })
}
