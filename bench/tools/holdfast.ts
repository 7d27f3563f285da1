/** Holdfast through its own command line, as a user has it. */
import { readdirSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { runCommand } from '#runtime'
import { type Command, run } from '../measure.ts'
import type { Place, Tool } from './tool.ts'

const PROGRAM = resolve(import.meta.dirname, '../../bin/holdfast')

export function holdfast(place: Place, ...args: string[]): Command {
  const [command = '', ...rest] = args
  const env = { HOLDFAST_PASSPHRASE: 'benchmark', XDG_CACHE_HOME: join(place.repository, 'cache') }
  return { program: PROGRAM, args: ['repo', command, join(place.repository, 'store'), ...rest], env }
}

export const holdfastTool: Tool = {
  name: 'holdfast',

  async version() {
    const result = await runCommand(PROGRAM, ['--version']).catch(() => undefined)
    return result?.exitCode === 0 ? result.stdout.toString('utf8').trim() : undefined
  },

  async prepare(place) {
    await run(holdfast(place, 'init'))
  },

  commands(place) {
    const backup = (machine: string, image: string): Command => ({
      ...holdfast(place, 'backup', '--machine', machine, '--disk', `0=raw:${image}`, '--output', 'json'),
      output: place.repository,
    })
    const restore = (format: string): Command => ({
      ...holdfast(place, 'restore', 'latest', '--to', join(place.target, format), '--format', format),
      output: place.target,
    })
    return {
      full: backup('bench', place.image),
      scan: backup('bench', place.image),
      'restore-raw': restore('raw'),
      'restore-qcow2': restore('qcow2'),
      verify: holdfast(place, 'verify'),
      'verify-keyless': holdfast(place, 'verify', '--without-key'),
      'full-huge': backup('huge', place.hugeImage),
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
