/** Files as they are dropped or chosen: folders are walked, what systems leave behind is not kept. */

const LITTER = /^(\.|Thumbs\.db$|desktop\.ini$|__MACOSX$)/i;

/** Every file of a drop, folders included. */
export async function dropped(transfer: DataTransfer): Promise<File[]> {
  const entries = [...transfer.items]
    .map((item) => item.webkitGetAsEntry())
    .filter((entry) => entry !== null);
  if (entries.length === 0) return wanted([...transfer.files]);
  const found = await Promise.all(entries.map(walk));
  return wanted(found.flat());
}

/** The files of an input, without litter. */
export function chosen(input: HTMLInputElement): File[] {
  const files = wanted([...(input.files ?? [])]);
  input.value = "";
  return files;
}

function wanted(files: File[]): File[] {
  return files.filter((file) => !LITTER.test(file.name) && file.size > 0);
}

async function walk(entry: FileSystemEntry): Promise<File[]> {
  if (LITTER.test(entry.name)) return [];
  if (entry.isFile) {
    return new Promise((resolve, reject) =>
      (entry as FileSystemFileEntry).file((file) => resolve([file]), reject),
    );
  }
  const reader = (entry as FileSystemDirectoryEntry).createReader();
  const found: FileSystemEntry[] = [];
  for (;;) {
    // A reader gives at most a hundred entries at a time.
    const some = await new Promise<FileSystemEntry[]>((resolve, reject) =>
      reader.readEntries(resolve, reject),
    );
    if (some.length === 0) break;
    found.push(...some);
  }
  found.sort((a, b) => a.name.localeCompare(b.name));
  return (await Promise.all(found.map(walk))).flat();
}
