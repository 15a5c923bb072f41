/** What stands in the bundle for the reader of zarr stores, which the page never opens. */

function never(): never {
  throw new Error("zarr stores are not read here");
}

export const slice = never;
export const root = never;
export const open = never;
export const get = never;
export class FetchStore {
  constructor() {
    never();
  }
}
