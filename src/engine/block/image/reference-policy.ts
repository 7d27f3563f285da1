/**
 * Decides whether an image may refer to another file. By default never. Where folders are allowed, the name must be a plain
 * path (no protocol, no "json:") that leads, with every symbolic link resolved, into one of them.
 */
import { realpath } from 'node:fs/promises'
import { dirname, isAbsolute, join, relative, resolve } from 'node:path'
import { errnoOf } from '#base'
import { backingRefused } from './image-errors.ts'

/** @returns the real path of the other file. @throws BlockError image_backing_refused */
export async function resolveReference(
  imagePath: string,
  name: string,
  allowBackingIn: readonly string[] = [],
): Promise<string> {
  if (allowBackingIn.length === 0)
    throw backingRefused(imagePath, name, 'images that depend on others are not accepted')
  // QEMU takes what precedes a colon for a protocol unless a slash comes first (path_has_protocol in block.c).
  const colon = name.indexOf(':')
  const slash = name.indexOf('/')
  if (colon >= 0 && (slash < 0 || colon < slash)) throw backingRefused(imagePath, name, 'it is not a plain file')
  let found: string
  try {
    found = await realpath(isAbsolute(name) ? name : resolve(dirname(await realpath(imagePath)), name))
  } catch (cause) {
    const missing = errnoOf(cause) === 'ENOENT'
    throw backingRefused(imagePath, name, missing ? 'there is no such file' : 'it cannot be reached')
  }
  for (const folder of allowBackingIn) {
    const root = await realpath(folder).catch(() => undefined) // A folder that is not there holds nothing.
    if (root === undefined) continue
    const inside = relative(root, found)
    if (inside !== '' && !isAbsolute(inside) && inside !== '..' && !inside.startsWith(join('..', '/'))) return found
  }
  throw backingRefused(imagePath, name, 'it lies outside the folders that are allowed')
}
