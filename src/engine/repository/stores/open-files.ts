/**
 * Files kept open between reads: opening, asking the size and closing cost several times what reading one chunk does.
 * Holds at most `filesMax` files that nobody reads just now; a file in use is closed when its last reader is done.
 * Good for files that never change; who deletes one says so with `forget`.
 */
import { close } from 'node:fs'
import { promisify } from 'node:util'

/** `fd` and not a FileHandle, which Node would close with a warning should an owner never close its store. */
export type OpenFile = Readonly<{ fd: number; sizeBytes: number }>

const closeFile = promisify(close)

type Entry = { file: OpenFile; readers: number; isForgotten: boolean }

export class OpenFiles {
  readonly #filesMax: number
  /** Least recently used first. */
  readonly #entries = new Map<string, Entry>()
  #forgets = 0

  constructor(filesMax: number) {
    this.#filesMax = filesMax
  }

  /**
   * Hands the file to `work`, opened by `open` if it is not open yet. The file must not be used after `work` is done.
   * When `work` fails the file is opened anew next time.
   */
  async use<T>(key: string, open: () => Promise<OpenFile>, work: (file: OpenFile) => Promise<T>): Promise<T> {
    const entry = this.#entries.get(key) ?? (await this.#open(open))
    entry.readers += 1 // from here on nobody closes it
    try {
      this.#keep(key, entry)
      await this.#shrink()
      return await work(entry.file)
    } catch (error) {
      if (this.#entries.get(key) === entry) this.#entries.delete(key)
      entry.isForgotten = true
      throw error
    } finally {
      entry.readers -= 1
      if (entry.isForgotten && entry.readers === 0) await closeFile(entry.file.fd)
    }
  }

  async forget(key: string): Promise<void> {
    this.#forgets += 1
    const entry = this.#entries.get(key)
    if (entry !== undefined) await this.#drop(key, entry)
  }

  async close(): Promise<void> {
    for (const key of this.#entries.keys()) await this.forget(key)
  }

  /** What was forgotten while it was being opened is used once and not kept. */
  async #open(open: () => Promise<OpenFile>): Promise<Entry> {
    const forgets = this.#forgets
    const file = await open()
    return { file, readers: 0, isForgotten: forgets !== this.#forgets }
  }

  /** Makes `entry` the most recently used one; of two that were opened at once the first to come here is kept. */
  #keep(key: string, entry: Entry): void {
    const kept = this.#entries.get(key)
    if (kept !== undefined && kept !== entry) entry.isForgotten = true
    if (entry.isForgotten) return
    this.#entries.delete(key)
    this.#entries.set(key, entry)
  }

  async #shrink(): Promise<void> {
    for (const [key, entry] of this.#entries) {
      if (this.#entries.size <= this.#filesMax) return
      const isIdle = entry.readers === 0 && this.#entries.get(key) === entry
      if (isIdle) await this.#drop(key, entry)
    }
  }

  async #drop(key: string, entry: Entry): Promise<void> {
    this.#entries.delete(key)
    entry.isForgotten = true
    if (entry.readers === 0) await closeFile(entry.file.fd)
  }
}
