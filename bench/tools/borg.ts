/** borg as one would use it for disk images: fixed chunks of 1 MiB, holes skipped, zstd level 1, encrypted. */
import { join } from 'node:path'
import { runCommand } from '#runtime'
import { type Command, run } from '../measure.ts'
import type { Place, Tool } from './tool.ts'

function borg(place: Place, ...args: string[]): Command {
  const env = {
    BORG_PASSPHRASE: 'benchmark',
    BORG_REPO: join(place.repository, 'repository'),
    BORG_BASE_DIR: join(place.repository, 'base'),
    BORG_RELOCATED_REPO_ACCESS_IS_OK: 'yes',
  }
  return { program: 'borg', args, env }
}

const CHUNKS = ['--chunker-params', 'fixed,1048576', '--sparse', '--compression', 'zstd,1']

export const borgTool: Tool = {
  name: 'borg',

  async version() {
    const result = await runCommand('borg', ['--version']).catch(() => undefined)
    return result?.stdout.toString('utf8').trim().split(' ')[1]
  },

  async prepare(place) {
    await run(borg(place, 'init', '--encryption', 'repokey-blake2'))
  },

  commands(place) {
    const create = (archive: string): Command => ({
      ...borg(place, 'create', ...CHUNKS, `::${archive}`, place.image),
      output: place.repository,
    })
    return {
      full: create('full'),
      scan: create('scan'),
      'restore-raw': { ...borg(place, 'extract', '--sparse', '::scan'), cwd: place.target, output: place.target },
      verify: borg(place, 'check', '--verify-data'),
      'verify-keyless': borg(place, 'check', '--repository-only'),
    }
  },

  restored: (place) => join(place.target, place.image),
}
