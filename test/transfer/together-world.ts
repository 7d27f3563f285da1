/**
 * Two machines without guests and an image that nobody uses, backed up as a group. As a program, `node together-world.ts STORE
 * STATE MEMBERS_JSON ONCE`, it dies by SIGKILL as soon as the first of the group's points is committed.
 */
import { join } from 'node:path'
import { FolderStore, type PointRecord, Repository } from '#engine/repository'
import { backUpTogether, type MemberBackup } from '#engine/transfer'
import { systemClock, systemRandom } from '#runtime'

const credential = { kind: 'passphrase', passphrase: 'a test' } as const
const kdfCost = { memoryKib: 64, passes: 1, parallelism: 1 }

export async function initStore(storePath: string): Promise<void> {
  const store = await FolderStore.open(storePath)
  const environment = { clock: systemClock, random: systemRandom, cacheFolder: `${storePath}-cache`, writer: 'test' }
  await Repository.init(store, { credential, chunkSizeBytes: 64 * 1024, kdfCost }, environment)
}

export function openStore(storePath: string): Promise<Repository> {
  const environment = { clock: systemClock, random: systemRandom, cacheFolder: `${storePath}-cache`, writer: 'test' }
  return FolderStore.open(storePath).then((store) => Repository.open(store, credential, environment))
}

export type Together = Readonly<{
  storePath: string
  stateFolder: string
  members: readonly MemberBackup[]
  once: string
  /** Called while the bytes of each disk are read. */
  onRead?: (made: readonly PointRecord[]) => void
}>

export async function backUpGroup(
  repository: Repository,
  { storePath, stateFolder, members, once, onRead }: Together,
): Promise<PointRecord[]> {
  return backUpTogether(
    repository,
    { group: 'shop', members, consistency: 'crash', waitMs: 20_000, once },
    {
      store: { kind: 'folder', path: storePath },
      clock: systemClock,
      random: systemRandom,
      writer: 'test',
      stateFolder,
      onOpen: () => {
        // Nobody waits for it here.
      },
      onUnrecovered: (id, error) => {
        throw error ?? new Error(`instant ${id} is open`)
      },
      progress: () => onRead?.(repository.points().filter(({ notes }) => notes.includes(once))),
    },
  )
}

if (process.argv[1] === import.meta.filename) {
  const [storePath = '', stateFolder = '', members = '[]', once = ''] = process.argv.slice(2)
  const repository = await openStore(storePath)
  await backUpGroup(repository, {
    storePath,
    stateFolder,
    members: JSON.parse(members) as MemberBackup[],
    once,
    onRead: (made) => {
      if (made.length > 0) process.kill(process.pid, 'SIGKILL')
    },
  })
}

export const PROGRAM = join(import.meta.dirname, 'together-world.ts')
