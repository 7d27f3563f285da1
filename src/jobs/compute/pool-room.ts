/**
 * The room of a pool: what its file system has free, less the pool's reserve, so that guests that write into sparse disks are
 * not stopped by work of ours. Several who begin at once each see the same room: the reserve is there for that too.
 */
import { statfs } from 'node:fs/promises'
import { JobsError } from '../errors.ts'

export type PoolPlace = Readonly<{ path: string; reserveBytes: number }>

/** Bytes that work of ours may still take; negative when the reserve itself is being used up. */
export async function roomOf(pool: PoolPlace): Promise<number> {
  const { bavail, bsize } = await statfs(pool.path)
  return bavail * bsize - pool.reserveBytes
}

/** @throws JobsError `pool_full` when so many bytes would come into the reserve */
export async function checkRoom(pool: PoolPlace, neededBytes: number): Promise<void> {
  const room = await roomOf(pool)
  if (room >= neededBytes) return
  throw new JobsError('pool_full', `The pool ${pool.path} has no room for ${neededBytes} bytes above its reserve.`, {
    facts: { pool: pool.path, neededBytes, roomBytes: room, reserveBytes: pool.reserveBytes },
    hint: 'Free or add space, or make its reserve smaller.',
  })
}
