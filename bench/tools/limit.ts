/**
 * The limit of the machine: the same work on the same bytes with nothing around it. Backup: SHA-256, zstd level 1 and
 * AES-256-GCM over the allocated data in 256 KiB chunks in two worker threads, nothing written. Restore: decrypt,
 * decompress, hash and write, from sealed chunks that `prepare` laid down. By the documented calls of Node alone and through
 * the page cache, as anyone would write it first: what Holdfast does better than that (decision 13) may put it below 1.
 */
import { join } from 'node:path'
import { type Command, run } from '../measure.ts'
import type { Tool } from './tool.ts'

const WORKER = join(import.meta.dirname, 'limit-work.ts')

function limit(...args: string[]): Command {
  return { program: process.execPath, args: [WORKER, ...args] }
}

export const limitTool: Tool = {
  name: 'limit',

  version: async () => process.version,

  async prepare(place) {
    await run(limit('lay-down', place.image, join(place.repository, 'sealed')))
  },

  commands(place) {
    const restored = join(place.target, 'disk.img')
    const restore = limit('open', join(place.repository, 'sealed'), restored)
    return { full: limit('seal', place.image), 'restore-raw': { ...restore, output: restored } }
  },

  restored: (place) => join(place.target, 'disk.img'),
}
