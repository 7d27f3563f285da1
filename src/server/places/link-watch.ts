/** Asks linked servers how they are, at the start and then twice a minute: what is not settled is settled, pairs are kept true. */
import { type Clock, messageOf } from '#base'
import type { Links } from '#api'
import type { Logger } from '#runtime'

const EVERY_MS = 30_000

export class LinkWatch {
  readonly #parts: Readonly<{ links: Links; clock: Clock; logger: Logger }>
  readonly #over = new AbortController()
  #running: Promise<void> = Promise.resolve()

  constructor(parts: Readonly<{ links: Links; clock: Clock; logger: Logger }>) {
    this.#parts = parts
  }

  begin(): void {
    this.#running = this.#loop()
  }

  async leave(): Promise<void> {
    this.#over.abort()
    await this.#running
  }

  async #loop(): Promise<void> {
    const { links, clock, logger } = this.#parts
    for (;;) {
      try {
        await links.look()
      } catch (error) {
        logger.warn({ error: messageOf(error) }, 'linked servers were not looked at')
      }
      try {
        await clock.sleep(EVERY_MS, this.#over.signal)
      } catch {
        return // The sleep only ends early because we leave.
      }
    }
  }
}
