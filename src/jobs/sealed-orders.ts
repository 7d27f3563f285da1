/**
 * What must be kept over a crash and may not be readable: orders of deployments with their secure parameters, what a machine's
 * first boot is to find; one sealed file each, with a key of its own. `kind` is `orders`, or what the caller says.
 *
 *   HOME/{kind}/{name}              12 bytes nonce, AES-256-GCM of the text, 16 bytes tag; the name is authenticated with it
 *   HOME/keys/{kind}/{name}         32 random bytes
 *
 * Order of writes: key, then order; both are durable when `put` resolves. Removed: key first, and with it the content is gone,
 * whatever the file system keeps of the order. A crash leaves at most a file without its fellow: `list` names it, so that it is
 * removed.
 */
import { createCipheriv, createDecipheriv } from 'node:crypto'
import { mkdir, readdir, readFile, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { errnoOf, type Random } from '#base'
import { createFileOnce, syncFolder } from '#runtime'

const CIPHER = 'aes-256-gcm'
const KEY_BYTES = 32
const NONCE_BYTES = 12
const TAG_BYTES = 16
const NAME = /^[\w-]{1,64}$/

async function namesIn(folder: string): Promise<string[]> {
  try {
    return (await readdir(folder)).filter((name) => NAME.test(name))
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') return []
    throw error
  }
}

async function contentOf(path: string): Promise<Buffer | undefined> {
  try {
    return await readFile(path)
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') return undefined
    throw error
  }
}

export class SealedOrders {
  readonly #orders: string
  readonly #keys: string
  readonly #random: Random

  /** @param folder of the home @param kind names the folder of its files; each kind is swept by its owner alone */
  constructor(folder: string, random: Random, kind = 'orders') {
    this.#orders = join(folder, kind)
    this.#keys = join(folder, 'keys', kind)
    this.#random = random
  }

  /** @param name new, of letters, digits, `_` and `-` */
  async put(name: string, text: string): Promise<void> {
    const key = this.#random.bytes(KEY_BYTES)
    const nonce = this.#random.bytes(NONCE_BYTES)
    const cipher = createCipheriv(CIPHER, key, nonce, { authTagLength: TAG_BYTES })
    cipher.setAAD(new TextEncoder().encode(name))
    const sealed = [nonce, cipher.update(text, 'utf8'), cipher.final(), cipher.getAuthTag()]
    for (const folder of [this.#keys, this.#orders]) await mkdir(folder, { recursive: true, mode: 0o700 })
    await createFileOnce(join(this.#keys, name), [key])
    await createFileOnce(join(this.#orders, name), sealed)
  }

  /** Undefined when it is not there, or not whole. */
  async get(name: string): Promise<string | undefined> {
    if (!NAME.test(name)) return undefined
    const [key, sealed] = await Promise.all([contentOf(join(this.#keys, name)), contentOf(join(this.#orders, name))])
    if (key?.length !== KEY_BYTES || sealed === undefined || sealed.length < NONCE_BYTES + TAG_BYTES) return undefined
    const decipher = createDecipheriv(CIPHER, key, sealed.subarray(0, NONCE_BYTES), { authTagLength: TAG_BYTES })
    decipher.setAAD(new TextEncoder().encode(name))
    decipher.setAuthTag(sealed.subarray(-TAG_BYTES))
    try {
      return decipher.update(sealed.subarray(NONCE_BYTES, -TAG_BYTES), undefined, 'utf8') + decipher.final('utf8')
    } catch {
      // Another's key, or altered bytes: nothing that could be used.
      return undefined
    }
  }

  async remove(name: string): Promise<void> {
    if (!NAME.test(name)) return
    if ((await contentOf(join(this.#keys, name))) !== undefined) {
      await rm(join(this.#keys, name), { force: true })
      await syncFolder(this.#keys)
    }
    await rm(join(this.#orders, name), { force: true })
  }

  async list(): Promise<string[]> {
    return [...new Set([...(await namesIn(this.#keys)), ...(await namesIn(this.#orders))])]
  }
}
