/** Holdfast through its own command line, as a user has it. */
import { readdirSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { runCommand } from '#runtime'
import { type Command, run } from '../measure.ts'
import type { Place, Tool } from './tool.ts'

export const PROGRAM = resolve(import.meta.dirname, '../../bin/holdfast')

/** The 1 TiB disk has a repository of its own, so that nothing of it is there already. */
export const STORE = 'store'
const HUGE_STORE = 'store-huge'

export function holdfast(place: Place, store: string, command: string, ...args: string[]): Command {
  const env = { HOLDFAST_PASSPHRASE: 'benchmark', XDG_CACHE_HOME: join(place.repository, 'cache') }
  return { program: PROGRAM, args: ['repo', command, join(place.repository, store), ...args], env }
}

export const holdfastTool: Tool = {
  name: 'holdfast',

  async version() {
    const result = await runCommand(PROGRAM, ['--version']).catch(() => undefined)
    return result?.exitCode === 0 ? result.stdout.toString('utf8').trim() : undefined
  },

  async prepare(place) {
    for (const store of [STORE, HUGE_STORE]) await run(holdfast(place, store, 'init'))
  },

  commands(place) {
    const backup = (store: string, image: string): Command => ({
      ...holdfast(place, store, 'backup', '--machine', 'bench', '--disk', `0=raw:${image}`, '--output', 'json'),
      output: place.repository,
    })
    const restore = (format: string): Command => ({
      ...holdfast(place, STORE, 'restore', 'latest', '--to', join(place.target, format), '--format', format),
      output: place.target,
    })
    return {
      full: backup(STORE, place.image),
      scan: backup(STORE, place.image),
      'restore-raw': restore('raw'),
      'restore-qcow2': restore('qcow2'),
      verify: holdfast(place, STORE, 'verify'),
      'verify-keyless': holdfast(place, STORE, 'verify', '--without-key'),
      'full-huge': backup(HUGE_STORE, place.hugeImage),
    }
  },

  restored(place) {
    const folder = join(place.target, 'raw')
    const image = readdirSync(folder, { recursive: true, withFileTypes: true }).find(
      (entry) => entry.isFile() && /\.(raw|img)$/.test(entry.name),
    )
    if (image === undefined) throw new Error(`No raw image in ${folder}`)
    return join(image.parentPath, image.name)
  },
}
