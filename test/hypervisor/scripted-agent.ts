/**
 * A program that speaks the guest agent's protocol in the place of a guest that we have not: qemu-ga of Windows, or one whose
 * commands are blocked. It keeps what a real one keeps, whether it is frozen, and refuses what a frozen one refuses.
 */
import { createServer, type Server, type Socket } from 'node:net'
import { isObject, type JsonObject } from '#engine/hypervisor'

type Answer = Readonly<{ return: unknown }> | Readonly<{ error: Readonly<{ class: string; desc: string }> }>
export type Script = Readonly<{
  os: Readonly<{ id: string; 'pretty-name': string }>
  /** Commands that the agent's settings block. */
  blocked?: readonly string[]
  /** What a freeze comes to: how many volumes are frozen, or the agent's words. */
  freeze: number | string
  /** How many volumes a thaw finds: none when they thawed by themselves. */
  thaw?: number
}>

const COMMANDS = [
  'guest-info',
  'guest-get-osinfo',
  'guest-exec',
  'guest-exec-status',
  'guest-fsfreeze-freeze',
  'guest-fsfreeze-freeze-list',
  'guest-fsfreeze-thaw',
  'guest-fsfreeze-status',
]
const WHILE_FROZEN = ['guest-fsfreeze-status', 'guest-fsfreeze-thaw']
const SENTINEL = 0xff

function refusal(desc: string): Answer {
  return { error: { class: 'GenericError', desc } }
}

export class ScriptedAgent {
  readonly #server: Server
  readonly #sockets = new Set<Socket>()
  #script: Script
  #isFrozen = false
  /** What it was asked, in order, without the protocol's own. */
  readonly asked: string[] = []

  private constructor(script: Script) {
    this.#script = script
    this.#server = createServer((socket) => this.#serve(socket))
  }

  static async listen(path: string, script: Script): Promise<ScriptedAgent> {
    const agent = new ScriptedAgent(script)
    await new Promise<void>((resolve) => agent.#server.listen(path, resolve))
    return agent
  }

  follow(script: Script): void {
    this.#script = script
    this.asked.length = 0
  }

  get isFrozen(): boolean {
    return this.#isFrozen
  }

  async close(): Promise<void> {
    for (const socket of this.#sockets) socket.destroy()
    await new Promise<void>((resolve) => this.#server.close(() => resolve()))
  }

  #serve(socket: Socket): void {
    this.#sockets.add(socket)
    socket.on('error', () => socket.destroy())
    socket.on('close', () => this.#sockets.delete(socket))
    let rest = ''
    socket.on('data', (bytes) => {
      const lines = (rest + bytes.filter((byte) => byte !== SENTINEL).toString()).split('\n')
      rest = lines.pop() ?? ''
      for (const line of lines) this.#answer(socket, JSON.parse(line) as JsonObject)
    })
  }

  #answer(socket: Socket, request: JsonObject): void {
    const { execute, arguments: args } = request
    if (execute === 'guest-sync-delimited') {
      const answer = JSON.stringify({ return: isObject(args) ? args['id'] : undefined })
      socket.write(Buffer.concat([Buffer.of(SENTINEL), Buffer.from(`${answer}\n`)]))
      return
    }
    const name = String(execute)
    this.asked.push(name)
    socket.write(`${JSON.stringify(this.#run(name))}\n`)
  }

  #run(name: string): Answer {
    const { os, freeze, thaw, blocked = [] } = this.#script
    if (!COMMANDS.includes(name) || blocked.includes(name)) return refusal(`Command ${name} has been disabled`)
    if (this.#isFrozen && !WHILE_FROZEN.includes(name))
      return refusal(`Command ${name} has been disabled: the agent is in frozen state`)
    switch (name) {
      case 'guest-info':
        return {
          return: {
            version: '9.2.0',
            supported_commands: COMMANDS.map((one) => ({ name: one, enabled: !blocked.includes(one) })),
          },
        }
      case 'guest-get-osinfo':
        return { return: os }
      case 'guest-fsfreeze-status':
        return { return: this.#isFrozen ? 'frozen' : 'thawed' }
      case 'guest-fsfreeze-freeze':
        if (typeof freeze === 'string') return refusal(freeze)
        this.#isFrozen = true
        return { return: freeze }
      case 'guest-fsfreeze-thaw': {
        const thawed = this.#isFrozen ? (thaw ?? Number(freeze)) : 0
        this.#isFrozen = false
        return { return: thawed }
      }
      default:
        return refusal('Failed to execute child process (No such file or directory)')
    }
  }
}
