/**
 * The blobs of a storage account as files of its region's pool:
 *
 *   {folder}/{container}/blob-{name, encoded}.json    what the blob is, and which file holds its bytes: replaced whole
 *   {folder}/{container}/data-{random}                the bytes of one state of a blob
 *   {folder}/{container}/block-{...}                  blocks that no list names yet
 *
 * A blob changes when its record is replaced: a crash leaves the old blob or the new one, and at most a file that nobody names.
 * Page blobs are written in place, as Azure's are.
 */
import { createHash } from 'node:crypto'
import { mkdir, readdir, readFile, rm, stat } from 'node:fs/promises'
import { join } from 'node:path'
import { errnoOf, randomUuid, type Random } from '#base'
import { listResources, type ResourceRecord } from '#catalog'
import { replaceFile, syncFolder } from '#runtime'
import type { ArmHost } from '../arm/call.ts'
import { BlobRefusal } from './blob-http.ts'

export const STORAGE_TYPE = 'Microsoft.Storage/storageAccounts'

export type BlobRecord = Readonly<{
  name: string
  type: 'BlockBlob' | 'PageBlob'
  /** File name inside the container's folder. */
  data: string
  sizeBytes: number
  etag: string
  createdMs: number
  modifiedMs: number
  contentType: string
  /** base64, of the whole; as the client said it. */
  contentMd5?: string
  metadata: Readonly<Record<string, string>>
}>

const CONTAINER = /^(?:[a-z0-9](?!.*--)[a-z0-9-]{1,61}[a-z0-9]|\$root)$/
const NAME_LENGTH_MAX = 1024
const FILE_NAME_MAX = 180

export function checkContainer(name: string): string {
  if (CONTAINER.test(name)) return name
  throw new BlobRefusal(
    400,
    'InvalidResourceName',
    'A container has 3 to 63 lower-case letters, digits and single hyphens.',
  )
}

export function checkBlobName(name: string): string {
  const isBad = name === '' || name.length > NAME_LENGTH_MAX || /\p{Cc}/u.test(name) || name.split('/').includes('..')
  if (!isBad) return name
  throw new BlobRefusal(400, 'InvalidResourceName', 'This cannot be the name of a blob.')
}

/** Names that are too long for a file keep their beginning, and a digest. */
function encoded(name: string): string {
  const text = encodeURIComponent(name).replaceAll('*', '%2A')
  if (text.length <= FILE_NAME_MAX) return text
  return `${text.slice(0, FILE_NAME_MAX - 70)}~${createHash('sha256').update(name).digest('hex')}`
}

export function accountFolder(account: Pick<ResourceRecord, 'backing'>): string {
  return String(account.backing['folder'])
}

export async function findAccount(host: Pick<ArmHost, 'catalog'>, name: string): Promise<ResourceRecord | undefined> {
  const accounts = await listResources(host.catalog, { type: STORAGE_TYPE })
  return accounts.find((account) => account.name === name && account.state === 'Succeeded')
}

/** The files of one container. */
export class ContainerFiles {
  readonly folder: string
  readonly #random: Random

  constructor(accountFolder: string, container: string, random: Random) {
    this.folder = join(accountFolder, checkContainer(container))
    this.#random = random
  }

  /** When it was made; undefined when there is none. */
  async createdMs(): Promise<number | undefined> {
    try {
      return Math.floor((await stat(this.folder)).birthtimeMs)
    } catch (error) {
      if (errnoOf(error) === 'ENOENT') return undefined
      throw error
    }
  }

  async create(): Promise<'created' | 'exists'> {
    try {
      await mkdir(this.folder, { mode: 0o700 })
    } catch (error) {
      if (errnoOf(error) === 'EEXIST') return 'exists'
      throw error
    }
    await syncFolder(join(this.folder, '..'))
    return 'created'
  }

  async remove(): Promise<void> {
    await rm(this.folder, { recursive: true, force: true })
  }

  newDataName(): string {
    return `data-${randomUuid(this.#random)}`
  }

  path(file: string): string {
    return join(this.folder, file)
  }

  /** Where a block waits for its list. */
  blockPath(blob: string, blockId: string): string {
    const digest = createHash('sha256').update(`${blob}\n${blockId}`).digest('hex')
    return join(this.folder, `block-${digest}`)
  }

  #recordPath(name: string): string {
    return join(this.folder, `blob-${encoded(name)}.json`)
  }

  async find(name: string): Promise<BlobRecord | undefined> {
    try {
      return JSON.parse(await readFile(this.#recordPath(name), 'utf8')) as BlobRecord
    } catch (error) {
      if (errnoOf(error) === 'ENOENT') return undefined
      throw error
    }
  }

  /** The blob is this from now on; the bytes that it had before go. */
  async put(record: BlobRecord): Promise<void> {
    const before = await this.find(record.name)
    await replaceFile(this.#recordPath(record.name), [new TextEncoder().encode(JSON.stringify(record))])
    if (before !== undefined && before.data !== record.data) await rm(this.path(before.data), { force: true })
  }

  async delete(record: BlobRecord): Promise<void> {
    await rm(this.#recordPath(record.name), { force: true })
    await rm(this.path(record.data), { force: true })
    await syncFolder(this.folder)
  }

  /** In the order of their names. */
  async list(prefix: string): Promise<BlobRecord[]> {
    const found: BlobRecord[] = []
    for (const file of await readdir(this.folder)) {
      if (!file.startsWith('blob-')) continue
      const text = await readFile(join(this.folder, file), 'utf8').catch(() => undefined)
      const record = text === undefined ? undefined : (JSON.parse(text) as BlobRecord)
      if (record?.name.startsWith(prefix) === true) found.push(record)
    }
    return found.sort((a, b) => (a.name < b.name ? -1 : 1))
  }
}

/** Account, container and blob of a path-style URL. */
export function partsOfUrl(url: URL): Readonly<{ account: string; container: string; blob: string }> {
  const [, account = '', container = '', ...rest] = url.pathname.split('/')
  const decode = (text: string): string => {
    try {
      return decodeURIComponent(text)
    } catch {
      throw new BlobRefusal(400, 'InvalidUri', 'The path of the request is not properly encoded.')
    }
  }
  return { account, container: decode(container), blob: decode(rest.join('/')) }
}

/** The blob that a URL of this server names, and its file; undefined when the URL names no account of ours. */
export async function findBlob(
  host: ArmHost,
  url: URL,
): Promise<Readonly<{ account: ResourceRecord; folder: string; path: string }> | undefined> {
  const { account: name, container, blob } = partsOfUrl(url)
  const account = await findAccount(host, name)
  if (account === undefined) return undefined
  const folder = accountFolder(account)
  const files = new ContainerFiles(folder, container, host.random)
  const record = await files.find(checkBlobName(blob))
  // A path that is not there: the job says so, as for a blob that goes before it is read.
  return { account, folder, path: files.path(record?.data ?? 'missing') }
}
