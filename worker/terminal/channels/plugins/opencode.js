// bus-watch: lets `wake` hand messages to this OpenCode over a Unix socket that only its user can open.
// Measured with OpenCode 1.18.33. One JSON line asked, one answered; see docs/channels.md.
import fs from "node:fs"
import net from "node:net"

export const BusWatch = async ({ client, directory }) => {
  const folder = `${process.env.HOME}/.local/state/bus-watch`
  const path = `${folder}/opencode-${process.pid}.sock`
  // OpenCode loads this file once for each directory whose sessions it is asked about. The first listens, for all of them.
  const all = (globalThis.busWatch ??= { clients: new Map(), mine: new Map(), last: 0n })
  all.clients.set(directory, client)
  // What became of ours, by their ids, as OpenCode tells it: the list of a long session is slow to ask for. Empty: nothing yet.
  const mine = all.mine
  const event = async ({ event }) => {
    const info = event.type === "message.updated" && event.properties.info
    if (!info) return
    if (mine.get(info.id) === "") mine.set(info.id, "found")
    if (mine.has(info.parentID)) mine.set(info.parentID, "answered")
  }
  if (all.clients.size > 1) return { event }
  const data = async (answer) => {
    const { data, error } = await answer
    if (error) throw new Error(JSON.stringify(error).slice(0, 200))
    return data
  }
  // OpenCode sorts messages by id, so ours begins as its own do: with the time, and no two of ours with the same.
  const id = (suffix) => {
    const now = BigInt(Date.now()) * 0x1000n
    all.last = now > all.last ? now : all.last + 1n
    return "msg_" + (all.last & 0xffffffffffffn).toString(16).padStart(12, "0") + suffix
  }
  // One without parts was cut off as OpenCode wrote it down: that is none. So was, as it began, the turn of an answer that is
  // empty and not over.
  const messagesOf = (session) => data(client.session.messages({ path: { id: session } }))
  const named = (messages, suffix) => messages.find((one) => one.info.id.endsWith(suffix) && one.parts.length)
  const listed = async (session, suffix) => {
    const messages = await messagesOf(session)
    const ours = named(messages, suffix)
    const answers = messages.filter((one) => ours && one.info.parentID === ours.info.id)
    const begun = answers.some(({ info, parts }) => parts.length || info.error || info.time?.completed)
    return ours && (begun ? "answered" : "found")
  }
  const state = async (session, suffix) => {
    const known = [...mine].find(([name]) => name.endsWith(suffix))
    return known ? known[1] || "pending" : listed(session, suffix)
  }
  const shown = (title) => (title.length > 40 ? title.slice(0, 37) + "…" : title) // as OpenCode names the terminal
  const titled = async (title) => {
    const lists = await Promise.all([...all.clients.values()].map((one) => data(one.session.list())))
    const meant = lists.flat().filter((one) => shown(one.title) === title && !one.parentID)
    return [...new Set(meant.map((one) => one.id))]
  }
  // What runs, whatever its directory.
  const running = async () => {
    const found = await Promise.all([...all.clients.values()].map((one) => data(one.session.status())))
    return Object.assign({}, ...found)
  }
  const look = async (asked) => {
    const { title, suffix } = asked
    const meant = asked.session ? [asked.session] : await titled(title)
    if (meant.length !== 1) return { sessions: meant.length }
    const session = meant[0]
    const ours = suffix ? await state(session, suffix) : undefined
    const status = (await running())[session]
    const busy = !!status && status.type !== "idle"
    const pending = ours === "pending"
    return { sessions: 1, session, busy, found: !!ours && !pending, answered: ours === "answered", pending }
  }
  const send = async ({ session, suffix, text }) => {
    const body = { messageID: id(suffix), parts: [{ type: "text", text }] }
    mine.set(body.messageID, "")
    try {
      await data(client.session.promptAsync({ path: { id: session }, body }))
    } catch (why) {
      if (!mine.get(body.messageID)) mine.delete(body.messageID)
      throw why
    }
    return {}
  }
  // A message whose turn was cut off: said once more with its own id, and nothing new, OpenCode begins it.
  const begin = async ({ session, suffix }) => {
    const messageID = named(await messagesOf(session), suffix)?.info.id
    if (!messageID) return {}
    if (!mine.has(messageID)) mine.set(messageID, "found")
    await data(client.session.promptAsync({ path: { id: session }, body: { messageID, parts: [] } }))
    return {}
  }
  const answer = async (asked) => {
    if (asked.op === "begin") return begin(asked)
    if (asked.op === "look") return look(asked)
    if (asked.op === "send") return send(asked)
    throw new Error(`unknown operation ${asked.op}`)
  }
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
        answered = { error: String(why).slice(0, 300) }
      }
      link.end(JSON.stringify({ version: 1, agent: "opencode", pid: process.pid, directory, ...answered }) + "\n")
    })
  })
  server.on("error", () => {})
  server.listen(path, () => fs.chmodSync(path, 0o600))
  server.unref()
  process.on("exit", () => fs.rmSync(path, { force: true }))
  return { event }
}
