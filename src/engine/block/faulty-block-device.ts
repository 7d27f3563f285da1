/**
 * FaultyBlockDevice fails when a test says so: a queue of outcomes per method, taken one per call; an empty queue means
 * that the call reaches the device. What was promised on failure (nothing written, buffer unspecified) is what callers
 * must survive.
 */
import type { BlockDevice } from './device.ts'
import type { Extent } from './extent.ts'

/** The methods that can be made to fail. */
export type FaultyMethod = 'read' | 'extents' | 'write' | 'writeZeroes' | 'flush' | 'close'
/** undefined lets the call pass; an error fails it before it reaches the device; a function decides or waits first. */
export type Fault = Error | undefined | (() => Promise<void>)

/** A device with planted failures; see the header of this file. */
export class FaultyBlockDevice implements BlockDevice {
  readonly #device: BlockDevice
  readonly #faults = new Map<FaultyMethod, Fault[]>()
  readonly #calls = new Map<FaultyMethod, number>()

  constructor(device: BlockDevice) {
    this.#device = device
  }

  get sizeBytes(): number {
    return this.#device.sizeBytes
  }

  get parallelism(): number {
    return this.#device.parallelism
  }

  /** Queues outcomes for the next calls of `method`. */
  fail(method: FaultyMethod, ...faults: readonly Fault[]): this {
    this.#faults.set(method, [...(this.#faults.get(method) ?? []), ...faults])
    return this
  }

  /** How often `method` was called, failed calls included. */
  calls(method: FaultyMethod): number {
    return this.#calls.get(method) ?? 0
  }

  async read(offset: number, into: Uint8Array, signal?: AbortSignal): Promise<void> {
    await this.#meet('read')
    await this.#device.read(offset, into, signal)
  }

  async extents(offset: number, length: number, signal?: AbortSignal): Promise<Extent[]> {
    await this.#meet('extents')
    return await this.#device.extents(offset, length, signal)
  }

  async write(offset: number, data: Uint8Array, signal?: AbortSignal): Promise<void> {
    await this.#meet('write')
    await this.#device.write(offset, data, signal)
  }

  async writeZeroes(offset: number, length: number, signal?: AbortSignal): Promise<void> {
    await this.#meet('writeZeroes')
    await this.#device.writeZeroes(offset, length, signal)
  }

  async flush(): Promise<void> {
    await this.#meet('flush')
    await this.#device.flush()
  }

  async close(): Promise<void> {
    await this.#meet('close')
    await this.#device.close()
  }

  async #meet(method: FaultyMethod): Promise<void> {
    this.#calls.set(method, this.calls(method) + 1)
    const fault = this.#faults.get(method)?.shift()
    if (typeof fault === 'function') await fault()
    else if (fault !== undefined) throw fault
  }
}
