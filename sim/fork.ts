/**
 * Lays checkpoints of another history into the store: they are authentic (the same key wrote them, in a copy of the store that
 * went its own way), newer than what is there, and wrong. As someone would who can write to the store and has an old copy.
 */
import type { SeededRandom } from '#base'
import { type BlobStore, MemoryStore, Repository, type RepositoryEnvironment } from '#engine/repository'
import { CHECKPOINT_ENTRIES, CREDENTIAL } from './surroundings.ts'

/** The keys of what was laid down. */
export async function plantForeignCheckpoint(
  store: BlobStore,
  environment: RepositoryEnvironment,
  random: SeededRandom,
): Promise<string[]> {
  const fork = new MemoryStore({ name: 'fork' })
  for (const prefix of ['config', 'keys/', 'log/', 'checkpoints/'])
    for await (const { key } of store.list(prefix)) await fork.put(key, [await store.get(key)])
  const checkpoints = { entriesMin: CHECKPOINT_ENTRIES }
  const repository = await Repository.open(fork, CREDENTIAL, { ...environment, checkpoints })
  const { head } = repository.log.state
  const entries = CHECKPOINT_ENTRIES * (1 + random.below(4))
  const free = repository.points().filter(({ id }) => repository.immutability.lockedUntilMs(id) === undefined)
  for (let i = 0; i <= entries; i += 1) await repository.forget(free.map(({ id }) => id))
  const planted: string[] = []
  for await (const { key } of fork.list('checkpoints/')) {
    if (Number(key.slice(-12)) <= head) continue
    if ((await store.put(key, [await fork.get(key)])) === 'created') planted.push(key)
  }
  await repository.close()
  return planted
}
