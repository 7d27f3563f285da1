/**
 * Brands keep values of one representation apart: a disk offset is not a block offset, a chunk id is not a pack id.
 * (The fourteen silent months of zeros in a peer's disk export were one offset taken for another.)
 */
declare const brand: unique symbol

export type Brand<T, Name extends string> = T & { readonly [brand]: Name }

/** Byte offset from the start of a disk. */
export type DiskOffset = Brand<number, 'DiskOffset'>
