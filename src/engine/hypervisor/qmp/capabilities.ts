/**
 * What this QEMU can do, asked from its own schema (`query-qmp-schema`, docs/devel/qapi-code-gen.rst "Client JSON Protocol
 * introspection"). Versions are not compared for abilities: distributions backport and leave out. They are compared for one
 * known fault, which no schema tells (`exportsFromIoThreads`).
 *
 * Pure over the schema; `askCapabilities` fetches it once per connection.
 */
import type { QmpClient, QmpVersion } from './client.ts'
import { asList, asObject, isObject, type JsonObject, textOr } from './shape.ts'

/** The answers that Holdfast needs; `instant/plan.ts` chooses its method by them. */
export type QemuCapabilities = Readonly<{
  /** Driver copy-before-write can be added (QEMU 6.2). */
  copyBeforeWrite: boolean
  /** Its `on-cbw-error` and `cbw-timeout`, without which a full scratch fails the guest's write (QEMU 7.1). */
  breakSnapshot: boolean
  /** Its `bitmap`: copies only what will be read. */
  copyBeforeWriteBitmap: boolean
  /** Driver snapshot-access: reads of the instant (QEMU 7.0). */
  snapshotAccess: boolean
  blockdevBackup: boolean
  blockExportAdd: boolean
  /** NBD exports carry dirty bitmaps of another node (`bitmaps` with node and name, QEMU 6.0 and later forms). */
  exportBitmaps: boolean
  bitmapMerge: boolean
  writeThreshold: boolean
  /**
   * An NBD export of a disk whose I/O has a thread of its own survives its client's leaving. QEMU 7.2.22 does not: it aborts in
   * nbd_blockdev_client_closed (an assertion that came with the fix of CVE-2024-7409), and the guest with it.
   */
  exportsFromIoThreads: boolean
}>

/** Answers questions about one schema, the `return` of `query-qmp-schema`. */
export class QmpSchema {
  readonly #entities = new Map<string, JsonObject>()

  constructor(schema: unknown) {
    for (const entity of asList(schema, 'the schema')) {
      const one = asObject(entity, 'an entity of the schema')
      this.#entities.set(textOr(one['name'], ''), one)
    }
  }

  hasCommand(name: string): boolean {
    return this.#entities.get(name)?.['meta-type'] === 'command'
  }

  /** Members of the command's arguments; with `tagValue`, also those of that variant (a block driver's options). */
  argumentsOf(command: string, tagValue?: string): ReadonlySet<string> {
    const type = this.#argumentType(command)
    const names = membersOf(type)
    const variant = tagValue === undefined ? undefined : variantOf(type, tagValue)
    for (const name of membersOf(this.#entities.get(textOr(variant?.['type'], '')))) names.add(name)
    return names
  }

  hasVariant(command: string, tagValue: string): boolean {
    return variantOf(this.#argumentType(command), tagValue) !== undefined
  }

  #argumentType(command: string): JsonObject | undefined {
    const argType = this.#entities.get(command)?.['arg-type']
    return typeof argType === 'string' ? this.#entities.get(argType) : undefined
  }
}

function objectsIn(list: unknown): JsonObject[] {
  return Array.isArray(list) ? list.filter(isObject) : []
}

function membersOf(type: JsonObject | undefined): Set<string> {
  return new Set(objectsIn(type?.['members']).map((member) => textOr(member['name'], '')))
}

function variantOf(type: JsonObject | undefined, tagValue: string): JsonObject | undefined {
  return objectsIn(type?.['variants']).find((variant) => variant['case'] === tagValue)
}

/** From 9.1 on NBD clients are let go in the main thread. Not tried there: only the versions known to abort are left out. */
function exportsFromIoThreads({ major, minor }: Pick<QmpVersion, 'major' | 'minor'>): boolean {
  return major > 9 || (major === 9 && minor >= 1)
}

export function capabilitiesOf(schema: QmpSchema, version: Pick<QmpVersion, 'major' | 'minor'>): QemuCapabilities {
  const filter = schema.argumentsOf('blockdev-add', 'copy-before-write')
  const copyBeforeWrite = schema.hasVariant('blockdev-add', 'copy-before-write')
  return {
    copyBeforeWrite,
    breakSnapshot: copyBeforeWrite && filter.has('on-cbw-error') && filter.has('cbw-timeout'),
    copyBeforeWriteBitmap: copyBeforeWrite && filter.has('bitmap'),
    snapshotAccess: schema.hasVariant('blockdev-add', 'snapshot-access'),
    blockdevBackup: schema.hasCommand('blockdev-backup'),
    blockExportAdd: schema.hasCommand('block-export-add'),
    exportBitmaps: schema.argumentsOf('block-export-add', 'nbd').has('bitmaps'),
    bitmapMerge: schema.hasCommand('block-dirty-bitmap-merge'),
    writeThreshold: schema.hasCommand('block-set-write-threshold'),
    exportsFromIoThreads: exportsFromIoThreads(version),
  }
}

const ASKED = new WeakMap<QmpClient, Promise<QemuCapabilities>>()

/** The capabilities of the QEMU behind `qmp`, asked once per connection. */
export function askCapabilities(qmp: QmpClient): Promise<QemuCapabilities> {
  const known = ASKED.get(qmp)
  if (known !== undefined) return known
  const asked = qmp.execute('query-qmp-schema').then((schema) => capabilitiesOf(new QmpSchema(schema), qmp.version))
  ASKED.set(qmp, asked)
  asked.catch(() => ASKED.delete(qmp))
  return asked
}
