/** Reading QEMU's object tree (qom-list, qom-get), where a missing property is an answer and not an error. */
import { isHoldfastError } from '#base'
import type { QmpClient } from '../qmp/client.ts'
import { asList, asObject, textOr } from '../qmp/shape.ts'

/** The property's value; undefined when the object or the property is not there. */
export async function readProperty(qmp: QmpClient, path: string, property: string): Promise<unknown> {
  try {
    return await qmp.execute('qom-get', { path, property })
  } catch (error) {
    if (isHoldfastError(error, 'qmp_command_failed')) return undefined
    throw error
  }
}

export async function readText(qmp: QmpClient, path: string, property: string): Promise<string> {
  return textOr(await readProperty(qmp, path, property), '')
}

/** Paths of the object and of all above it, nearest first, without /machine itself. */
export function pathsUpwards(path: string): string[] {
  const parts = path.split('/').filter((part) => part !== '')
  const paths: string[] = []
  for (let length = parts.length; length > 1; length -= 1) paths.push(`/${parts.slice(0, length).join('/')}`)
  return paths
}

/** Every device that the command line or device_add made: with an id (peripheral) and without (peripheral-anon). */
export async function devicePaths(qmp: QmpClient): Promise<string[]> {
  const paths: string[] = []
  for (const parent of ['/machine/peripheral', '/machine/peripheral-anon']) {
    const children = asList(await qmp.execute('qom-list', { path: parent }), 'the list of devices')
    for (const child of children.map((one) => asObject(one, 'a device')))
      if (textOr(child['type'], '').startsWith('child<')) paths.push(`${parent}/${textOr(child['name'], '')}`)
  }
  return paths
}
