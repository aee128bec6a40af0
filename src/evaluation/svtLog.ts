/** SVT-AV1 tells the terminal about every encoder it starts; errors are enough. Set before FFmpeg makes the first one. */
process.env.SVT_LOG ??= '1';
