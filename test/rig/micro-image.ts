/** The cached image of the micro guest. Read-only: guests run on overlays of it. */
import { resolve } from 'node:path'
import { checkCommand } from '#runtime'

const ROOT = resolve(import.meta.dirname, '../..')
const BUILD_MS_MAX = 300_000

/** The folder for what is fetched and built once: `HOLDFAST_CACHE`, or .cache in the working copy. */
export const CACHE_FOLDER = resolve(process.env['HOLDFAST_CACHE'] ?? resolve(ROOT, '.cache'))

const images = new Map<string, Promise<string>>()

/** Absolute path of the raw image; built (1-2 s, the packages fetched before) when it is not in the cache. */
export function microImage(firmware: 'bios' | 'uefi' = 'bios'): Promise<string> {
  const known = images.get(firmware)
  if (known !== undefined) return known
  const built = checkCommand(resolve(ROOT, 'guest/build-micro'), firmware === 'uefi' ? ['--uefi'] : [], {
    env: { HOLDFAST_CACHE: CACHE_FOLDER },
    timeoutMs: BUILD_MS_MAX,
  }).then((result) => result.stdout.toString('utf8').trim())
  images.set(firmware, built)
  return built
}
