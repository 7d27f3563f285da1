/** Two homes, each with its server and one region, and a way between them that can be cut. */
import { createServer, connect, type AddressInfo, type Socket } from 'node:net'
import type { Invited, LinkView, RegionView } from '#server'
import { ServedHome } from './served-home.ts'
import { FaceClient } from '../api/face-client.ts'

export type LinkedRegionView = RegionView & Readonly<{ link?: LinkView }>

/** What the way between two servers lets through. `to`: what is asked; `from`: what is answered. */
export type Cut = 'nothing' | 'what is asked' | 'what is answered'

/**
 * A port of this host that leads to another one. A cut lets the handshake of TLS pass, so that whoever connects believes in
 * having asked.
 */
export class Way {
  readonly #server = createServer((socket) => this.#lead(socket))
  readonly #sockets = new Set<Socket>()
  readonly #port: number
  cut: Cut = 'nothing'

  private constructor(port: number) {
    this.#port = port
  }

  static async to(port: number): Promise<Way> {
    const way = new Way(port)
    await new Promise<void>((resolve) => way.#server.listen(0, '127.0.0.1', resolve))
    return way
  }

  get endpoint(): string {
    return `https://127.0.0.1:${(this.#server.address() as AddressInfo).port}`
  }

  #lead(asker: Socket): void {
    const asked = connect(this.#port, '127.0.0.1')
    let chunks = 0
    asker.on('data', (data) => {
      chunks += 1
      // The first is the ClientHello; what follows ends the handshake and asks.
      if (this.cut !== 'what is asked' || chunks === 1) asked.write(data)
    })
    asked.on('data', (data) => {
      if (this.cut !== 'what is answered' || chunks === 1) asker.write(data)
    })
    for (const [one, other] of [[asker, asked] as const, [asked, asker] as const]) {
      this.#sockets.add(one)
      one.on('error', () => one.destroy())
      one.on('close', () => {
        this.#sockets.delete(one)
        other.destroy()
      })
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const socket of this.#sockets) socket.destroy()
    await new Promise<void>((resolve) => this.#server.close(() => resolve()))
  }
}

/** Takes the region away that the home was made with. */
export async function withoutRegion(home: ServedHome, region: string): Promise<void> {
  await home.run('pool', 'remove', region, 'default')
  await home.run('store', 'remove', region, 'default')
  await home.run('region', 'remove', region)
}

export class LinkWorld {
  readonly east: ServedHome
  readonly west: ServedHome

  private constructor(east: ServedHome, west: ServedHome) {
    this.east = east
    this.west = west
  }

  static async make(): Promise<LinkWorld> {
    const [east, west] = await Promise.all([ServedHome.make(), ServedHome.make()])
    await Promise.all([east.serve(), west.serve()])
    return new LinkWorld(east, west)
  }

  /** One has `eastus` then, the other `westus`. */
  async divide(): Promise<void> {
    await Promise.all([withoutRegion(this.east, 'westus'), withoutRegion(this.west, 'eastus')])
  }

  async invitation(...more: string[]): Promise<string> {
    return (await this.west.run<Invited>('region', 'invite', ...more)).invitation
  }

  async link(...more: string[]): Promise<LinkView> {
    return this.east.run<LinkView>('region', 'link', await this.invitation(...more), '--role', 'Contributor')
  }

  face(home: ServedHome): FaceClient {
    return new FaceClient(home.home)
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.east[Symbol.asyncDispose]()
    await this.west[Symbol.asyncDispose]()
  }
}

/** Names of the linked regions that a home lists, with their states. */
export async function linkedIn(home: ServedHome): Promise<Record<string, string>> {
  const regions = await home.run<LinkedRegionView[]>('region', 'list')
  return Object.fromEntries(regions.flatMap(({ name, link }) => (link === undefined ? [] : [[name, link.state]])))
}
