/** restic with its defaults (content-defined chunks, zstd, AES-CTR + Poly1305); its cache lies beside the repository. */
import { runCommand } from '#runtime'
import { join } from 'node:path'
import { type Command, run } from '../measure.ts'
import type { Place, Tool } from './tool.ts'

const env = { RESTIC_PASSWORD: 'benchmark' }

function restic(place: Place, ...args: string[]): Command {
  const [repository, cache] = [join(place.repository, 'repository'), join(place.repository, 'cache')]
  return { program: 'restic', args: ['-q', '-r', repository, '--cache-dir', cache, ...args], env }
}

export const resticTool: Tool = {
  name: 'restic',

  async version() {
    const result = await runCommand('restic', ['version']).catch(() => undefined)
    return result?.stdout.toString('utf8').split(' ')[1]
  },

  async prepare(place) {
    await run(restic(place, 'init', '--repository-version', '2'))
  },

  commands(place) {
    const backup = { ...restic(place, 'backup', place.image), output: place.repository }
    return {
      full: backup,
      scan: backup,
      'restore-raw': { ...restic(place, 'restore', 'latest', '--target', place.target), output: place.target },
      verify: restic(place, 'check', '--read-data'),
    }
  },

  restored: (place) => join(place.target, place.image),
}
