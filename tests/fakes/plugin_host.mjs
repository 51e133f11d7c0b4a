// The three UIs that load a plugin of ours, as far as a plugin sees them: `node plugin_host.mjs AGENT PLUGIN`.
// What a person does comes as a line of JSON (`{"do": NAME}`), what a turn begins with goes as one (`{"turn": TEXT}`).
// Facts are pi 1.6.0's, OpenCode 1.18.33's and Copilot CLI 1.0.102's, read in their code or found by running them.
import fs from "node:fs"
import readline from "node:readline"
import { pathToFileURL } from "node:url"

const [agent, plugin] = process.argv.slice(2)
const say = (words) => process.stdout.write(JSON.stringify(words) + "\n")
const soon = () => new Promise((done) => setImmediate(done))
const home = process.env.HOME
const load = () => import(`${pathToFileURL(plugin)}?${Date.now()}`) // anew each time, as the UIs do

// `held`: a turn runs until somebody ends it. `refuses`: what is handed over is answered with an error. `mute`: it is
// taken, and nothing is told of it. `complains`: the same, and it is answered with an error. `slow to settle`: pi is
// idle for a while before it says so.
let mode = ""

const hosts = {
  async pi() {
    const records = `${home}/.pi/agent/sessions/--here--`
    fs.mkdirSync(records, { recursive: true })
    let handlers, id, running, settling
    let followUps = []
    const entry = (words) => fs.appendFileSync(`${records}/2026_${id}.jsonl`, JSON.stringify(words) + "\n")
    const manager = { getSessionDir: () => records, getSessionId: () => id }
    const ctx = { hasUI: true, isIdle: () => !running, sessionManager: manager }
    const emit = async (event, data = {}) => {
      for (const handler of handlers[event] ?? []) await handler(data, ctx)
    }
    const begin = async (text) => {
      running = true
      await soon()
      if (mode === "mute") return
      say({ turn: text })
      entry({ type: "message", role: "user", content: text })
      await emit("message_start", { message: { role: "user", content: [{ type: "text", text }] } })
      if (mode !== "held") await end()
    }
    const end = async () => {
      entry({ type: "message", message: { role: "assistant" } })
      if (followUps.length) return begin(followUps.shift())
      running = false
      settling = []
      say({ settling: true })
      if (mode === "slow to settle") await new Promise((done) => setTimeout(done, 400)) // as another extension may take
      await emit("agent_settled")
      const later = settling
      settling = undefined
      for (const text of later) prompt(text)
    }
    const prompt = async (text) => {
      if (settling) return settling.push(text)
      if (running) return followUps.push(text)
      await begin(text)
    }
    const api = {
      on: (event, handler) => (handlers[event] ??= []).push(handler),
      sendUserMessage: (text) => {
        if (mode === "refuses") throw new Error("refused")
        prompt(text)
      },
      appendEntry: (type, data) => entry({ type: "custom", customType: type, data }),
    }
    const open = async (session) => {
      if (handlers) await emit("session_shutdown")
      handlers = {}
      id = session
      ;(await load()).default(api)
      await emit("session_start")
    }
    await open("s1")
    return {
      busy: () => begin("a person's"),
      end,
      open: ({ session }) => open(session),
      reload: () => open(id),
      restart: () => {
        delete globalThis.busWatch
        running = false
        return open(id)
      },
      escape: async () => {
        followUps = []
        running = false
        await emit("agent_settled")
      },
      late: ({ text }) => emit("message_start", { message: { role: "user", content: text } }),
    }
  },

  async opencode() {
    const sessions = { s1: { title: "work", messages: [] }, s2: { title: "other", messages: [] } }
    const status = {}
    let hooks, number = 0
    const told = (info) => mode !== "mute" && hooks.event({ event: { type: "message.updated", properties: { info } } })
    const turn = async (session, message) => {
      status[session] = { type: "busy" }
      say({ turn: message.text })
      const info = { id: `msg_f${String(number++).padStart(11, "0")}`, role: "assistant", parentID: message.info.id }
      sessions[session].messages.push({ info, parts: [{ type: "text", text: "ok" }] })
      await told(info)
      delete status[session]
    }
    const waiting = []
    const answered = (data) => Promise.resolve({ data })
    const failed = (words) => Promise.resolve({ error: { name: words } })
    const client = {
      session: {
        messages: ({ path }) => (sessions[path.id] ? answered(sessions[path.id].messages) : failed("NotFoundError")),
        list: () => answered(Object.entries(sessions).map(([id, { title }]) => ({ id, title }))),
        status: () => answered({ ...status }),
        promptAsync: async ({ path, body }) => {
          if (mode === "refuses" || !sessions[path.id]) return failed("BadRequest")
          const { messages } = sessions[path.id]
          const known = messages.find((one) => one.info.id === body.messageID)
          const answers = messages.filter((one) => one.info.parentID === body.messageID)
          if (known && !status[path.id] && !answers.some((one) => one.parts.length))
            setImmediate(() => turn(path.id, known))
          if (known) return answered()
          if (messages.some((one) => one.info.role === "user" && one.info.id > body.messageID)) say({ wrong: "order" })
          const message = { info: { id: body.messageID, role: "user" }, parts: body.parts, text: body.parts[0].text }
          messages.push(message)
          setImmediate(async () => {
            await told(message.info)
            if (mode === "held") waiting.push([path.id, message])
            else await turn(path.id, message)
          })
          return mode === "complains" ? failed("UnknownError") : answered()
        },
      },
    }
    const open = async () => (hooks = await (await load()).BusWatch({ client, directory: home }))
    await open()
    // It was asked about a session of another directory: it loads the plugin for that one, too.
    const elsewhere = async () => {
      const there = { ...client.session, list: () => answered([{ id: "s9", title: "away" }]), status: () => answered() }
      await (await load()).BusWatch({ client: { session: there }, directory: `${home}/away` })
    }
    return {
      busy: () => (status.s1 = { type: "busy" }),
      end: async () => {
        for (const one of waiting.splice(0)) await turn(...one)
        delete status.s1
      },
      open: ({ session }) => (sessions.s1.title = `left for ${session}`),
      reload: open,
      elsewhere,
      restart: ({ cut }) => {
        for (const [session, message] of waiting.splice(0)) {
          const answer = { info: { id: "msg_f", role: "assistant", parentID: message.info.id }, parts: [] }
          if (cut === "as its turn began") sessions[session].messages.push(answer)
          if (cut === "as it was written down") message.parts = []
        }
        delete globalThis.busWatch
        delete status.s1
        return open()
      },
    }
  },

  async copilot() {
    const all = `${home}/.copilot/session-state`
    const listeners = {}
    let front = "s1", running = false, number = 0
    let queue = []
    fs.mkdirSync(`${all}/s1`, { recursive: true })
    const emit = (event, data = {}) => (listeners[event] ?? []).forEach((one) => one({ data }))
    const begin = async ({ messageId, prompt }) => {
      running = true
      await soon()
      say({ turn: prompt })
      const words = { type: "user.message", data: { messageId, content: prompt } }
      fs.appendFileSync(`${all}/s1/events.jsonl`, JSON.stringify(words) + "\n")
      if (mode !== "mute") emit("user.message", words.data)
      if (mode !== "held") await end()
    }
    const end = async () => {
      fs.appendFileSync(`${all}/s1/events.jsonl`, '{"type":"assistant.message","data":{}}\n')
      running = false
      if (queue.length) return begin(queue.shift())
      emit("session.idle")
    }
    globalThis.joinSession = async () => ({
      workspacePath: `${all}/s1`,
      sessionId: "s1",
      connection: { sendRequest: async () => ({ sessionId: front }) },
      rpc: {
        metadata: { isProcessing: async () => ({ processing: running }) },
        queue: { pendingItems: async () => ({ items: queue }) },
      },
      send: async ({ prompt }) => {
        if (mode === "refuses") throw new Error("refused")
        const item = { messageId: `m${number++}`, prompt }
        if (running || mode === "queues") queue.push(item)
        else begin(item)
        if (mode === "complains") throw new Error("internal error")
        return item.messageId
      },
      on: (event, listener) => (listeners[event] ??= []).push(listener),
    })
    await load()
    return {
      busy: () => void (running = true),
      end,
      open: ({ session }) => (front = session),
      restart: () => {
        queue = []
        running = false
        return load()
      },
      escape: async () => {
        queue = []
        running = false
        emit("session.idle")
      },
    }
  },
}

const host = { mode: ({ word }) => (mode = word), ...(await hosts[agent]()) }
say({ ready: process.pid })
for await (const line of readline.createInterface({ input: process.stdin })) {
  const asked = JSON.parse(line)
  await host[asked.do](asked)
  say({ done: asked.do })
}
process.exit(0)
